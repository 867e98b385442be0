"""Files with people's rows that commands write: an erasure finds those it can, and none is late."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from heed_cli.terminal import hint, note
from shared.errors import Conflict
from shared.exports import exports_locked, is_kept

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker


async def count_erasures(session: "AsyncSession", project_id: int) -> int:
    """How many people were erased so far; take it before the rows of a file are read."""
    from sqlalchemy import func, select
    from sqlmodel import col

    from shared.db.tables import Erasure

    statement = select(func.count()).where(col(Erasure.project_id) == project_id)
    return await session.scalar(statement) or 0


@asynccontextmanager
async def putting_in_place(
    sessions: "async_sessionmaker[AsyncSession]", data_dir: Path, *, project_id: int, erasures: int
) -> AsyncIterator[None]:
    """Inside, a file is put in its place, and into the register if it is kept.

    An erasure that commits before the look here is seen; a later one finds the file, because it
    takes the same lock before it looks for kept exports.

    Args:
        sessions: of the database.
        data_dir: of the deployment.
        project_id: whose rows they are.
        erasures: how many there were before the rows were read.

    Raises:
        Conflict: somebody was erased meanwhile.
    """
    with exports_locked(data_dir):
        async with sessions() as session:
            if await count_erasures(session, project_id) != erasures:
                raise Conflict(
                    "Somebody was erased while rows were read, so nothing is written: run it again."
                )
        yield


def say_whose(data_dir: Path, path: Path) -> None:
    """Tell whether an erasure finds a file, or whoever wrote it has to delete it."""
    say_found(is_kept(data_dir, path))


def say_found(is_found: bool) -> None:
    """Tell that an erasure finds a file, or that whoever wrote it has to delete it."""
    if is_found:
        hint("  An erasure removes this file when it holds a row of the person.")
    else:
        note("yours", "an erasure does not reach this file; delete it when it must go")
