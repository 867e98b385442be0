"""Data keys of people and projects: made on first sight, kept wrapped, destroyed by an erasure.

A row of `rlhf_subject_keys` stays when its key is destroyed, and says so; a person who posts again
gets a new key in the same row.
"""

import asyncio
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, tuple_, update
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from shared.db.faults import reaching_database
from shared.db.tables import SubjectKey
from shared.errors import KeyMissing, Overloaded
from shared.privacy.keyring import KEY_BYTES, Keyring

CHANNEL = "heed_subject_keys"
PROJECT = ""  # stands for rows that name nobody: their key is the project's own
TIMEOUT_S = 5.0
MAX_ASKED = 10_000
_PORTION = 1000

Owner = tuple[int, str]


@dataclass(frozen=True, slots=True)
class DataKey:
    """The unwrapped key of a person, None once destroyed; whether an earlier one was destroyed.

    `made_at` tells it from the key that the same person had before an erasure.
    """

    key: bytes | None
    was_destroyed: bool
    made_at: datetime


Asked = dict[Owner, asyncio.Future[DataKey]]


class PersonKeys:
    """Reads and makes data keys; many that are wanted at once are one statement."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], keyring: Keyring) -> None:
        self._sessions = sessions
        self._keyring = keyring
        self._asked: Asked = {}
        self._answering: asyncio.Task[None] | None = None

    async def made(self, owners: Iterable[Owner]) -> dict[Owner, DataKey]:
        """The living key of every owner, committed before it is handed out.

        Raises:
            KeyMissing: a master key is missing.
            DatabaseUnavailable: Postgres cannot be reached.
            Overloaded: too many people wait for their keys already.
        """
        if len(self._asked) >= MAX_ASKED:
            raise Overloaded("Too many posts wait for keys; try again.", retry_after_s=1)
        loop = asyncio.get_running_loop()
        wanted = {owner: self._asked.setdefault(owner, loop.create_future()) for owner in owners}
        if self._answering is None:
            self._answering = asyncio.create_task(self._answer())
        await asyncio.wait(wanted.values())
        return {owner: asked.result() for owner, asked in wanted.items()}

    async def stored(self, owners: Collection[Owner]) -> dict[Owner, DataKey]:
        """The keys there are of these owners, destroyed ones too; nothing is made.

        Raises:
            KeyMissing: a master key is missing.
            DatabaseUnavailable: Postgres cannot be reached.
        """
        with reaching_database():
            async with asyncio.timeout(TIMEOUT_S), self._sessions() as session:
                return await self._read(session, owners)

    async def check(self) -> None:
        """Open one data key of each master key in use.

        Raises:
            KeyMissing: a master key is missing, or is not the one it was.
            DatabaseUnavailable: Postgres cannot be reached.
        """
        one_each = (
            select(SubjectKey)
            .where(col(SubjectKey.wrapped_key).is_not(None))
            .ext(distinct_on(col(SubjectKey.master_key_id)))
        )
        with reaching_database():
            async with self._sessions() as session:
                for row in await session.scalars(one_each):
                    owner = name_of(row.project_id, row.person)
                    self._keyring.unwrap(row.wrapped_key or b"", owner, row.master_key_id)

    async def _answer(self) -> None:
        """Make what was asked for, and what is asked for meanwhile, then end."""
        try:
            while self._asked:
                asked, self._asked = self._asked, {}
                await self._settle(asked)
        finally:
            self._answering = None

    async def _settle(self, asked: Asked) -> None:
        try:
            with reaching_database():
                async with asyncio.timeout(TIMEOUT_S), self._sessions.begin() as session:
                    found = await self._make(session, sorted(asked))
        except KeyMissing as error:
            if len(asked) == 1:
                _fail(asked, error)
            else:  # one of them needs the key; the others must not wait for it
                for some in _halves(asked):
                    await self._settle(some)
            return
        except BaseException as error:
            _fail(asked, error)
            if not isinstance(error, Exception):
                raise
            return
        for owner, future in asked.items():
            future.set_result(found[owner])

    async def _make(self, session: AsyncSession, owners: list[Owner]) -> dict[Owner, DataKey]:
        """In sorted order, so that processes that make the same keys do not deadlock."""
        found = await self._read(session, owners)
        lacking = [o for o in owners if o not in found or found[o].key is None]
        for at in range(0, len(lacking), _PORTION):
            rows = [self._new_row(*owner) for owner in lacking[at : at + _PORTION]]
            adding = insert(SubjectKey).values(rows)
            names = ("wrapped_key", "master_key_id")
            renewed = {name: adding.excluded[name] for name in names} | {"created_at": func.now()}
            await session.execute(
                adding.on_conflict_do_update(
                    index_elements=["project_id", "person"],
                    set_=renewed,
                    where=col(SubjectKey.wrapped_key).is_(None),
                )
            )
        return found | await self._read(session, lacking)

    def _new_row(self, project_id: int, person: str) -> dict[str, object]:
        return {
            "project_id": project_id,
            "person": person,
            "wrapped_key": self._keyring.wrap(os.urandom(KEY_BYTES), name_of(project_id, person)),
            "master_key_id": self._keyring.active_id,
        }

    async def _read(self, session: AsyncSession, owners: Collection[Owner]) -> dict[Owner, DataKey]:
        found: dict[Owner, DataKey] = {}
        ordered = list(owners)
        for at in range(0, len(ordered), _PORTION):
            wanted = tuple_(col(SubjectKey.project_id), col(SubjectKey.person))
            statement = select(
                col(SubjectKey.project_id),
                col(SubjectKey.person),
                col(SubjectKey.wrapped_key),
                col(SubjectKey.master_key_id),
                col(SubjectKey.destroyed_at),
                col(SubjectKey.created_at),
            ).where(wanted.in_(ordered[at : at + _PORTION]))
            for project_id, person, wrapped, key_id, destroyed_at, made_at in await session.execute(
                statement
            ):
                owner = name_of(project_id, person)
                key = self._keyring.unwrap(wrapped, owner, key_id) if wrapped else None
                found[project_id, person] = DataKey(key, destroyed_at is not None, made_at)
        return found


def _fail(asked: Asked, error: BaseException) -> None:
    for future in asked.values():
        future.set_exception(error)
        future.exception()  # whoever waited may be gone


def _halves(asked: Asked) -> Iterator[Asked]:
    ordered = sorted(asked)
    middle = len(ordered) // 2
    for some in (ordered[:middle], ordered[middle:]):
        yield {owner: asked[owner] for owner in some}


def name_of(project_id: int, person: str) -> str:
    """What a wrapped key is bound to; a pseudonym holds no NUL."""
    return f"{project_id}\0{person}"


async def destroy_person_keys(
    session: AsyncSession, project_id: int, people: Collection[str]
) -> int:
    """Destroy the data keys of these people in the caller's transaction; how many there were.

    Every text that was sealed for one of them is unreadable from the commit on. Other processes
    are told by NOTIFY, and forget the keys after 30 seconds at the latest. Posts that were sealed
    under the keys and wait to be stored wait for this transaction too, and are refused after it:
    destroy the keys before you look for what is stored, so that none is stored in between.
    """
    mine = select(col(SubjectKey.person)).where(
        col(SubjectKey.project_id) == project_id,
        col(SubjectKey.person).in_(set(people) - {PROJECT}),
        col(SubjectKey.wrapped_key).is_not(None),
    )
    living = list(await session.scalars(mine.order_by(col(SubjectKey.person)).with_for_update()))
    if living:
        await session.execute(
            update(SubjectKey)
            .where(col(SubjectKey.project_id) == project_id, col(SubjectKey.person).in_(living))
            .values(wrapped_key=None, destroyed_at=func.now())
            .execution_options(synchronize_session=False)
        )
        await session.execute(select(func.pg_notify(CHANNEL, str(project_id))))
    return len(living)
