"""What is held of a person, found and locked before any of it is erased.

Of a rater: every version of their posts, and later versions under the same id that took over what
they wrote. Of a subject: everything on a target (an interaction, or one prompt and response) that
any post names them for, since its text is about them whoever rated it, and whatever else was said
of it; the interaction itself too.
"""

import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from asyncpg import LockNotAvailableError
from sqlalchemy import ColumnElement, Row, Select, any_, literal, null, select, text
from sqlalchemy.dialects.postgresql import ARRAY, BIGINT, TEXT, UUID
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.feedback_api.writer import FEEDBACK, PREFERENCE, Kind
from shared.contracts.values import PersonKind
from shared.db.tables import (
    Feedback,
    FeedbackHistory,
    InteractionRecord,
    Preference,
    PreferenceHistory,
    Receipt,
)
from shared.errors import Overloaded

T = TypeVar("T")

PORTION = 5000  # the most values that one statement is given
PASSES = 3
_SOON, _WHENEVER = (text(f"SET LOCAL lock_timeout = '{wait}'") for wait in ("3s", "0"))
# In the order in which the writer comes to them.
_NO_POSTS = text(
    "LOCK TABLE rlhf_receipts, rlhf_feedback, rlhf_preferences IN SHARE ROW EXCLUSIVE MODE"
)
TABLES: tuple[tuple[Any, Any, Kind], ...] = (
    (Feedback, FeedbackHistory, FEEDBACK),
    (Preference, PreferenceHistory, PREFERENCE),
)


@dataclass(frozen=True)
class Person:
    """Whose data is meant: a pseudonym in a project."""

    project_id: int
    kind: PersonKind
    pseudonym: str


class Recorded(NamedTuple):
    """A recorded exchange: the id its client gave it, and its number in datasets."""

    interaction_id: str
    seq: int


@dataclass
class Held:
    """What was found.

    Attributes:
        versions: of each table or history, the `seq` of every row version by its id.
        interactions: recorded exchanges by row id.
        chats: ids of all exchanges concerned, recorded or not.
        bereft: versions that stay and whose texts were those of an interaction that goes.
    """

    versions: dict[str, dict[uuid.UUID, int]] = field(default_factory=dict)
    interactions: dict[uuid.UUID, Recorded] = field(default_factory=dict)
    chats: set[str] = field(default_factory=set)
    bereft: dict[uuid.UUID, int] = field(default_factory=dict)

    @property
    def seqs(self) -> list[int]:
        """The number of everything that must leave the datasets, ascending."""
        going = (seq for found in self.versions.values() for seq in found.values())
        recorded = (one.seq for one in self.interactions.values())
        return sorted({*going, *recorded, *self.bereft.values()})

    @property
    def row_ids_in_datasets(self) -> list[uuid.UUID]:
        """The id of everything that must leave the datasets."""
        return [*self.row_ids, *self.interactions, *self.bereft]

    @property
    def row_ids(self) -> list[uuid.UUID]:
        """The id of every row version that goes."""
        return [row_id for found in self.versions.values() for row_id in found]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to erase."""
        return not self.interactions and not any(self.versions.values())

    def add(self, table: Any, row_id: uuid.UUID, seq: int) -> None:
        """Count one version in."""
        self.versions.setdefault(table.__tablename__, {})[row_id] = seq

    def live(self, table: Any) -> list[uuid.UUID]:
        """The ids of a table's rows."""
        return list(self.versions.get(table.__tablename__, ()))


class _Moved(Exception):
    """A row changed between being found and being locked."""


async def hold(session: AsyncSession, find_now: Callable[[], Awaitable[Held]]) -> Held:
    """What `find_now` finds, locked until the end of the transaction.

    What is posted meanwhile is either part of it or stays as new data: a later version of a row
    that is being erased waits for the lock and finds no row to merge with.

    Raises:
        Overloaded: the rows changed faster than they could be locked.
    """
    held = await find_now()
    for _ in range(PASSES):
        try:
            async with session.begin_nested():
                await lock(session, held)
                found = await find_now()
                if not _is_still_there(held, found):
                    raise _Moved
                return held
        except _Moved:
            held = found
    await _stop_writers(session)
    held = await find_now()
    await lock(session, held)
    return held


async def _stop_writers(session: AsyncSession) -> None:
    """Let nobody post until the end of the transaction; only for rows that never hold still."""
    try:
        await session.execute(_SOON)
        await session.execute(_NO_POSTS)
        await session.execute(_WHENEVER)
    except DBAPIError as error:
        if not isinstance(getattr(error.orig, "__cause__", None), LockNotAvailableError):
            raise
        raise Overloaded(
            "The rows change faster than they can be locked, so nothing was erased. Try again.",
            retry_after_s=2,
        ) from None


async def find(session: AsyncSession, person: Person) -> Held:
    """What is held of the person now; nothing is locked."""
    if person.kind is PersonKind.RATER:
        return await _of_rater(session, person)
    return await _of_subject(session, person)


async def lock(session: AsyncSession, held: Held) -> None:
    """Lock receipts, then rows, each in the order in which the writer locks them."""
    await session.execute(
        select(col(Receipt.row_id))
        .where(col(Receipt.row_id) == any_(uuids([*held.row_ids, *held.interactions])))
        .order_by(col(Receipt.project_id), col(Receipt.key))
        .with_for_update()
    )
    for table, _, kind in TABLES:
        await session.execute(
            select(col(table.id))
            .where(col(table.id) == any_(uuids(held.live(table))))
            .order_by(*(col(getattr(table, name)) for name in kind.natural_key))
            .with_for_update()
        )


def _is_still_there(held: Held, found: Held) -> bool:
    """Whether every row is the version it was; one that was deleted and written anew is not."""
    return all(
        held.versions.get(name, {}).items() <= found.versions.get(name, {}).items()
        for name in (table.__tablename__ for table, _, _ in TABLES)
    )


async def _of_rater(session: AsyncSession, person: Person) -> Held:
    held = Held()
    for table, history, kind in TABLES:
        first: dict[tuple[str, str], int] = {}
        for place in (table, history):
            their_own = col(place.clinician_id) == person.pseudonym
            for row in await _read(session, place, person, their_own):
                same = (row.client_id, row.target)
                first[same] = min(row.seq, first.get(same, row.seq))
        client_ids = sorted({client_id for client_id, _ in first})
        for place in (table, history):
            column = col(getattr(place, kind.id_column))
            for row in await _read_any(session, place, person, column, client_ids):
                if row.seq >= first.get((row.client_id, row.target), row.seq + 1):
                    held.add(place, row.id, row.seq)
    return held


async def _of_subject(session: AsyncSession, person: Person) -> Held:
    held = Held(chats=set(await session.scalars(_recorded_about(person))))
    targets: dict[Any, set[str]] = {Feedback: held.chats, Preference: set()}
    for table, history, _ in TABLES:
        for place in (table, history):
            found = await _read(session, place, person, *_is_about(place, person))
            targets[table].update(row.target for row in found)
            held.chats.update(row.interaction_id for row in found if row.interaction_id)
    for table, history, _ in TABLES:
        for place in (table, history):
            column, wanted = col(place.target), sorted(targets[table])
            for row in await _read_any(session, place, person, column, wanted):
                held.add(place, row.id, row.seq)
    for chats in portions(sorted(held.chats)):
        named = col(InteractionRecord.interaction_id) == any_(texts(chats))
        statement = recorded_rows().where(
            col(InteractionRecord.project_id) == person.project_id, named
        )
        held.interactions |= await read_recorded(session, statement)
    return held


def recorded_rows() -> Select[uuid.UUID, str, int]:
    """What `read_recorded` reads of recorded exchanges."""
    record = InteractionRecord
    return select(col(record.id), col(record.interaction_id), col(record.seq))


async def read_recorded(
    session: AsyncSession, statement: Select[uuid.UUID, str, int]
) -> dict[uuid.UUID, Recorded]:
    """Recorded exchanges by their row id."""
    found = await session.execute(statement)
    return {row_id: Recorded(name, seq) for row_id, name, seq in found}


def _recorded_about(person: Person) -> Select[str]:
    return select(col(InteractionRecord.interaction_id)).where(
        col(InteractionRecord.project_id) == person.project_id,
        *_is_about(InteractionRecord, person),
    )


def _is_about(table: Any, person: Person) -> list[ColumnElement[bool]]:
    """The second condition is what lets Postgres use the index."""
    named = col(table.subjects).contains(texts([person.pseudonym]))
    return [named, col(table.subjects) != texts([])]


async def _read_any(
    session: AsyncSession, place: Any, person: Person, column: Any, values: Sequence[str]
) -> list[Row[Any]]:
    """The versions whose column holds one of the values, read in portions."""
    found: list[Row[Any]] = []
    for some in portions(values):
        found += await _read(session, place, person, column == any_(texts(some)))
    return found


async def _read(
    session: AsyncSession, place: Any, person: Person, *wanted: ColumnElement[bool]
) -> Sequence[Row[Any]]:
    is_feedback = place in (Feedback, FeedbackHistory)
    client_id = place.feedback_id if is_feedback else place.preference_id
    statement = select(
        col(place.id),
        col(place.seq),
        col(place.target),
        col(client_id).label("client_id"),
        (col(place.interaction_id) if is_feedback else null()).label("interaction_id"),
    ).where(col(place.project_id) == person.project_id, *wanted)
    return (await session.execute(statement)).all()


def portions(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """The values in pieces that one statement may be given."""
    for at in range(0, len(values), PORTION):
        yield values[at : at + PORTION]


def uuids(values: Sequence[uuid.UUID]) -> ColumnElement[Any]:
    """An array parameter of ids."""
    return literal(list(values), ARRAY(UUID))


def texts(values: Sequence[str]) -> ColumnElement[Any]:
    """An array parameter of texts."""
    return literal(list(values), ARRAY(TEXT))


def numbers(values: Sequence[int]) -> ColumnElement[Any]:
    """An array parameter of row numbers."""
    return literal(list(values), ARRAY(BIGINT))
