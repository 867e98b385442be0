"""Artifacts that the database names, against those a store has; and from one store to another."""

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from heed_cli.database import in_transaction
from shared.artifacts import ArtifactStore, FolderStore
from shared.db.tables import Dataset, ModelVersion


def named_artifacts(url: str) -> list[tuple[int, str]]:
    """Project and URI of every dataset and model version that the database has."""

    async def read(session: AsyncSession) -> list[tuple[int, str]]:
        found = set()
        for table in (Dataset, ModelVersion):
            rows = await session.execute(select(col(table.project_id), col(table.uri)))
            found |= {(project_id, uri) for project_id, uri in rows}
        return sorted(found)

    return in_transaction(url, read)


def missing_artifacts(url: str, store: ArtifactStore) -> list[str]:
    """The URIs of what the database has and the store does not."""
    return [uri for _, uri in named_artifacts(url) if not store.holds(uri)]


def files_of(folder: Path) -> Iterator[Path]:
    """The files of whole artifacts; those being written, and checkpoints, lie in hidden folders."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts[:-1])
        if path.is_file() and not hidden:
            yield path


def send_all(folder: Path, store: ArtifactStore) -> int:
    """Store every artifact of a folder of artifacts; how many there were.

    Raises:
        ArtifactError: one cannot be stored.
        StoreUnavailable: the bucket cannot be reached; what it has got need not be sent again.
    """
    places = sorted(folder.glob("[0-9]*/*/*"))
    for place in places:
        _copy(place, store.of_project(int(place.parts[-3])))
    return len(places)


def fetch_all(url: str, store: ArtifactStore, folder: Path) -> int:
    """Copy every artifact that the database names into a folder; how many there were.

    Raises:
        MissingArtifact: the store lacks one.
        ArtifactError: one is damaged, or cannot be written.
        StoreUnavailable: the bucket cannot be reached.
    """
    named = named_artifacts(url)
    for project_id, uri in named:
        _copy(store.path(uri), FolderStore(folder, project_id))
    return len(named)


def _copy(place: Path, to: ArtifactStore) -> None:
    kind = place.parent.name
    if place.is_dir():
        to.put_folder(place, kind)
    else:
        to.put_file(place, kind)
