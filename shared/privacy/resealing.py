"""What `heed encryption` does with rows that are stored already, in portions, while posts go on.

A row's text is exchanged in place: its id, `seq` and `xid` stay, so no history is written and no
dataset notices. Each portion is a transaction that skips rows somebody else holds, so a run that
was stopped goes on where it was, and a writer waits for one portion at most.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Table,
    Text,
    Update,
    and_,
    bindparam,
    func,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from shared.db.columns import metadata
from shared.db.faults import reaching_database
from shared.db.tables import SubjectKey
from shared.errors import ConfigError
from shared.privacy.fields import FieldCipher
from shared.privacy.keyring import Keyring
from shared.privacy.person_keys import name_of
from shared.privacy.sealed_text import JSON_COLUMNS, JSON_MARK, MARK, is_sealed, sealed_columns

Sessions = async_sessionmaker[AsyncSession]
StoredRow = dict[str, Any]
Progress = Callable[[str, int], None]
Change = Callable[[str, Sequence[StoredRow]], Awaitable[list[StoredRow]]]

TABLES = (
    "rlhf_feedback",
    "rlhf_feedback_history",
    "rlhf_preferences",
    "rlhf_preferences_history",
    "rlhf_interaction_records",
    "reasoning_steps",
)
PORTION = 200
KEY_PORTION = 500
_PEOPLE = ("project_id", "clinician_id", "subjects")


@dataclass(frozen=True)
class TableState:
    """How many rows of a table have a sealed text, and how many a plain one; some have both."""

    name: str
    rows: int
    sealed: int
    plain: int


@dataclass(frozen=True)
class KeyState:
    """How many living data keys are wrapped under one master key."""

    key_id: str
    data_keys: int
    is_here: bool
    is_active: bool


async def seal_stored(
    sessions: Sessions, cipher: FieldCipher, progress: Progress = lambda table, rows: None
) -> int:
    """Seal what was stored before encryption was on; how many rows changed.

    `progress` is told each table and how many of its rows changed so far.

    Raises:
        ConfigError: encryption is off.
        KeyMissing: a master key is missing.
    """
    if not cipher.is_on:
        raise ConfigError("Set HEED_ENCRYPTION=on first, and restart the services with it.")

    async def seal(table: str, rows: Sequence[StoredRow]) -> list[StoredRow]:
        columns = sealed_columns(table)
        changes = []
        for row in rows:
            plain = {c: row[c] for c in columns if row[c] and not is_sealed(row[c])}
            named = {name: row.get(name) for name in _PEOPLE}
            await cipher.seal(table, new := named | plain)
            changes.append({column: new[column] for column in plain})
        return changes

    return await _Exchange(sessions, _is_plain, seal).everywhere(progress)


async def unseal_stored(
    sessions: Sessions, cipher: FieldCipher, progress: Progress = lambda table, rows: None
) -> int:
    """Store sealed texts plain again, those of destroyed keys excepted; how many rows changed.

    Raises:
        ConfigError: encryption is on, so that new posts would be sealed meanwhile.
        KeyMissing: a master key is missing.
        UnreadableText: a text is not what was sealed.
    """
    if cipher.is_on:
        raise ConfigError("Set HEED_ENCRYPTION=off first, and restart the services with it.")

    async def unseal(table: str, rows: Sequence[StoredRow]) -> list[StoredRow]:
        columns = sealed_columns(table)
        opened = [dict(row) for row in rows]
        await cipher.unseal(table, opened)
        return [
            {c: new[c] for c in columns if is_sealed(old[c]) and _is_open(new[c])}
            for old, new in zip(rows, opened, strict=True)
        ]

    return await _Exchange(sessions, _is_sealed, unseal).everywhere(progress)


async def rotate(sessions: Sessions, keyring: Keyring) -> int:
    """Wrap every data key under the active master key; how many were wrapped under another.

    Raises:
        KeyMissing: a master key that still wraps data keys is not here.
    """
    count = 0
    while True:
        with reaching_database():
            async with sessions.begin() as session:
                done = await _rotate_some(session, keyring)
        if not done:
            return count
        count += done


async def table_states(session: AsyncSession) -> list[TableState]:
    """How much of each table is sealed."""
    return [await _state_of(session, metadata.tables[name]) for name in TABLES]


async def key_states(session: AsyncSession, keyring: Keyring) -> list[KeyState]:
    """The master keys in use or at hand, the active one first."""
    used = await master_keys_in_use(session)
    ids = [*keyring.keys, *(name for name in used if name not in keyring.keys)]
    return [
        KeyState(name, used.get(name, 0), name in keyring.keys, name == next(iter(keyring.keys)))
        for name in ids
    ]


async def master_keys_in_use(session: AsyncSession) -> dict[str, int]:
    """How many living data keys each master key wraps, by its id."""
    key_id = col(SubjectKey.master_key_id)
    counting = select(key_id, func.count()).where(col(SubjectKey.wrapped_key).is_not(None))
    found = await session.execute(counting.group_by(key_id).order_by(key_id))
    return {name: int(count) for name, count in found}


def _is_open(value: object) -> bool:
    """Whether it can be stored plain: its key lives, and nobody will take it for a sealed text."""
    return value is not None and not is_sealed(value)


async def _rotate_some(session: AsyncSession, keyring: Keyring) -> int:
    active = keyring.active_id
    others = (
        select(SubjectKey)
        .where(col(SubjectKey.wrapped_key).is_not(None), col(SubjectKey.master_key_id) != active)
        .order_by(col(SubjectKey.project_id), col(SubjectKey.person))
        .limit(KEY_PORTION)
        .with_for_update(skip_locked=True, key_share=True)  # posts that hold a key go on
    )
    rows = list(await session.scalars(others))
    for row in rows:
        owner = name_of(row.project_id, row.person)
        data_key = keyring.unwrap(row.wrapped_key or b"", owner, row.master_key_id)
        row.wrapped_key, row.master_key_id = keyring.wrap(data_key, owner), active
    return len(rows)


@dataclass(frozen=True)
class _Exchange:
    """Exchanges texts in the rows that `concerns` selects, as `change` says."""

    sessions: Sessions
    concerns: Callable[[Table], ColumnElement[bool]]
    change: Change

    async def everywhere(self, progress: Progress) -> int:
        """Pass over every table until a pass changes nothing: the first may skip held rows."""
        total = 0
        for name in TABLES:
            count = 0
            while changed := await self._pass(metadata.tables[name]):
                count += changed
                progress(name, count)
            total += count
        return total

    async def _pass(self, table: Table) -> int:
        count, after = 0, None
        while True:
            with reaching_database():
                async with self.sessions.begin() as session:
                    rows = await self._next_rows(session, table, after)
                    count += await self._exchange(session, table, rows)
            if not rows:
                return count
            after = [rows[-1][column.name] for column in table.primary_key]

    async def _next_rows(
        self, session: AsyncSession, table: Table, after: Sequence[Any] | None
    ) -> list[StoredRow]:
        key = list(table.primary_key)
        named = [*(c.name for c in key), *_PEOPLE, *sealed_columns(table.name)]
        columns = [table.c[name] for name in dict.fromkeys(named) if name in table.c]
        portion = select(*columns).where(self.concerns(table)).order_by(*key).limit(PORTION)
        if after is not None:
            portion = portion.where(tuple_(*key) > tuple_(*after))
        found = await session.execute(portion.with_for_update(skip_locked=True))
        return [dict(row) for row in found.mappings()]

    async def _exchange(
        self, session: AsyncSession, table: Table, rows: Sequence[StoredRow]
    ) -> int:
        changes = await self.change(table.name, rows)
        written = [
            {f"the_{name}": value for name, value in (row | new).items()}
            for row, new in zip(rows, changes, strict=True)
            if new
        ]
        if written:
            await (await session.connection()).execute(_rewriting(table), written)
        return len(written)


def _rewriting(table: Table) -> Update:
    given = {column.name: bindparam(f"the_{column.name}", type_=column.type) for column in table.c}
    same = [column == given[column.name] for column in table.primary_key]
    return update(table).where(*same).values({c: given[c] for c in sealed_columns(table.name)})


async def _state_of(session: AsyncSession, table: Table) -> TableState:
    counts = select(
        func.count(),
        func.count().filter(_is_sealed(table)),
        func.count().filter(_is_plain(table)),
    ).select_from(table)
    return TableState(table.name, *(await session.execute(counts)).one())


def _is_sealed(table: Table) -> ColumnElement[bool]:
    """Whether a row holds a sealed text; the counterpart of `sealed_text.is_sealed`."""
    return or_(*(_column_is_sealed(table.c[name]) for name in sealed_columns(table.name)))


def _is_plain(table: Table) -> ColumnElement[bool]:
    """Whether a row holds a text that `seal` would change."""
    columns = [table.c[name] for name in sealed_columns(table.name)]
    return or_(*(_has_content(c) & ~_column_is_sealed(c) for c in columns))


def _column_is_sealed(column: Column[Any]) -> ColumnElement[bool]:
    if column.name in JSON_COLUMNS:
        return and_(func.jsonb_typeof(column) == "object", func.jsonb_exists(column, JSON_MARK))
    return func.starts_with(column, MARK)


def _has_content(column: Column[Any]) -> ColumnElement[bool]:
    if column.name in JSON_COLUMNS:
        return func.jsonb_typeof(column).in_(["object", "array"]) & column.cast(Text).not_in(
            ["{}", "[]"]
        )
    return column != ""
