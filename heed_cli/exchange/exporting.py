"""Exports rows into one file: streamed, audited, in its place only when it is complete."""

from array import array
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from heed_cli.exchange.choosing import Selection
from heed_cli.exchange.formats import Format, Writer
from heed_cli.exchange.posts import MISSHAPEN, Json
from heed_cli.exchange.selecting import read_groups
from heed_cli.exchange.stored import Group
from heed_cli.exchange.writing import finish, lines_beside
from heed_cli.kept_files import count_erasures, putting_in_place
from shared.db.audit import as_id, audit, person_name
from shared.errors import NotEnoughData
from shared.exports import is_kept, keep_export, remove_leftovers
from shared.files import flush
from shared.privacy.fields import FieldCipher

Sessions = async_sessionmaker[AsyncSession]


@dataclass(frozen=True)
class Export:
    """What to write, in which format, and where."""

    format: Format
    write: Writer
    wanted: Selection
    path: Path
    data_dir: Path


@dataclass
class Held:
    """Which rows went into the file."""

    seqs: "array[int]" = field(default_factory=lambda: array("q"))
    interactions: list[str] = field(default_factory=list)

    def add(self, group: Group) -> None:
        """Take note of a group."""
        self.seqs.extend(row["seq"] for row in (*group.feedback, *group.preferences))
        self.interactions += (str(row["id"]) for row in group.interactions)


async def export_rows(
    sessions: Sessions, cipher: FieldCipher, export: Export, on_rows: Callable[[int], None]
) -> int:
    """Write the file; how many rows it has.

    Raises:
        InvalidInput: it cannot be written there.
        Conflict: somebody was erased meanwhile; nothing is left behind.
        DatabaseUnavailable: Postgres cannot be reached.
    """
    held = Held()
    if is_kept(export.data_dir, export.path):
        remove_leftovers(export.data_dir)
    with ExitStack() as files:
        writer, lines = files.enter_context(lines_beside(export.path))
        async with sessions.begin() as session:
            await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            erasures = await count_erasures(session, export.wanted.project_id)
            async for group in read_groups(session, cipher, export.wanted, export.format.tables):
                if rows := _rows_of(group, export.write):
                    for row in rows:
                        writer.add(row)
                    held.add(group)
                    on_rows(writer.rows)
            _require_rows(writer.rows)
            writer.flush()
            ready = finish(lines, writer.columns, export.path)
            files.callback(ready.unlink, missing_ok=True)
            _tell(session, export, writer.rows)
        await _publish(sessions, export, ready, held, erasures)
    return writer.rows


def _rows_of(group: Group, write: Writer) -> list[Json]:
    """The rows a group makes; a context that only looks like an import's is not taken for one."""
    if not group.origin:
        return list(write(group))
    try:
        return list(write(group))
    except MISSHAPEN:
        return list(write(group.unmarked()))


def _require_rows(rows: int) -> None:
    if rows == 0:
        raise NotEnoughData(
            "No stored row fits, so nothing is written: this format takes other rows, a filter "
            "keeps them out, or nobody consented to training."
        )


def _tell(session: AsyncSession, export: Export, rows: int) -> None:
    wanted = {name: value for name, value in asdict(export.wanted).items() if value is not None}
    filters = {name: as_id(value) for name, value in wanted.items() if name != "project_id"}
    audit(
        session,
        "feedback.export",
        actor=person_name(),
        target=export.format.name,
        project_id=export.wanted.project_id,
        detail={"rows": rows, "file": as_id(export.path.name), "filters": filters},
    )


async def _publish(
    sessions: Sessions, export: Export, ready: Path, held: Held, erasures: int
) -> None:
    """Put the file in its place, unless it holds rows of somebody who was erased meanwhile."""
    project_id = export.wanted.project_id
    async with putting_in_place(
        sessions, export.data_dir, project_id=project_id, erasures=erasures
    ):
        _put_in_place(export, ready, held)


def _put_in_place(export: Export, ready: Path, held: Held) -> None:
    if is_kept(export.data_dir, export.path):
        keep_export(export.data_dir, export.path, held.seqs, held.interactions)
    ready.replace(export.path)
    flush(export.path.parent)
