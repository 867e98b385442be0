"""Which model a word on the command line means: a version, an alias, or an artifact folder."""

import re
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from shared.artifacts import ArtifactStore
from shared.db.columns import Json
from shared.errors import InvalidInput
from shared.ml.artifact import MANIFEST_FILE, read_manifest
from shared.registry import CHAMPION, DEFAULT_NAME, find_version

_SHAPE = re.compile(r"([A-Za-z0-9._-]{1,64})(?:[@:]([A-Za-z0-9._-]{1,64}))?")


@dataclass(frozen=True)
class FoundModel:
    """An artifact folder, how it is called here, and what is known of it."""

    name: str
    folder: Path
    about: Json


def is_folder(reference: str) -> bool:
    """Whether the words name an artifact folder rather than a registered version."""
    return (Path(reference) / MANIFEST_FILE).is_file()


def model_in_folder(reference: str, *, secret: bytes) -> FoundModel:
    """A model that is not registered, or lies elsewhere.

    Raises:
        ArtifactError: the folder holds no manifest signed with this deployment's secret.
    """
    folder = Path(reference)
    about = _about(folder, secret) | {"version": None, "folder": str(folder)}
    return FoundModel(folder.name or str(folder.resolve().name), folder, about)


async def registered_model(
    session: AsyncSession,
    reference: str,
    *,
    store: ArtifactStore,
    secret: bytes,
    project_id: int = 1,
) -> FoundModel:
    """The version meant by `reward@3`, `reward:challenger`, `champion`, `3` or a name.

    A name alone means its champion; a number, `champion` and `challenger` mean the default model's.

    Raises:
        InvalidInput: no model could be called this.
        NotFound: there is no such version.
        ArtifactError: its folder is missing, or its manifest is not to be trusted.
    """
    name, selector = parse_reference(reference)
    version = await find_version(session, selector, name=name, project_id=project_id)
    folder = store.path(version.uri)
    about = _about(folder, secret) | {"version": version.version, "sha256": version.sha256}
    return FoundModel(f"{version.name}@{version.version}", folder, about)


def parse_reference(reference: str) -> tuple[str, str]:
    """Name and selector (a number or an alias) of a registered model.

    Raises:
        InvalidInput: no model could be called this.
    """
    matched = _SHAPE.fullmatch(reference)
    if matched is None:
        raise InvalidInput(
            f"{reference!r} is no model: name a version as `reward@3`, an alias as `champion` or "
            "`reward:challenger`, or an artifact folder."
        )
    name, selector = matched.groups()
    if selector:
        return name, selector
    is_selector = name.isdecimal() or name in (CHAMPION, "challenger")
    return (DEFAULT_NAME, name) if is_selector else (name, CHAMPION)


def _about(folder: Path, secret: bytes) -> Json:
    manifest = read_manifest(folder, secret=secret)
    return {
        "model_kind": manifest.kind,
        "mode": manifest.mode,
        "dataset_snapshot": manifest.dataset_snapshot,
        "code_version": manifest.code_version,
    }
