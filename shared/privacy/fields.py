"""Texts at rest: sealed before they are written, opened after they are read.

`FieldCipher` finds the keys and remembers them for a while; `sealed_text` is the form.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm.attributes import set_committed_value

from shared.config import Settings
from shared.errors import Overloaded, UnreadableText
from shared.privacy.keyring import Keyring, load_keyring
from shared.privacy.person_keys import (
    CHANNEL,
    PROJECT,
    DataKey,
    Owner,
    PersonKeys,
    destroy_person_keys,
)
from shared.privacy.sealed_text import (
    Lock,
    Place,
    Seal,
    close_text,
    derive_lock,
    find_sealed,
    is_sealed,
    live_name,
    open_text,
    sealed_columns,
)

__all__ = [
    "CHANNEL",
    "FieldCipher",
    "UsedKey",
    "destroy_person_keys",
    "is_sealed",
    "key_destroyed",
    "open_cipher",
    "sealed_columns",
]

CACHE_S = 30.0
CACHE_SIZE = 10_000
_CHECK_EVERY_S = 60.0
_AT_ONCE = 100  # texts opened before other work on the event loop has its turn

UsedKey = tuple[int, str, datetime]  # the key of a person of a project, and when it was made


@dataclass(frozen=True, slots=True)
class _Remembered:
    since: float
    lock: Lock
    keys: tuple[UsedKey, ...]


class FieldCipher:
    """Seals what is written, when encryption is on, and opens what is read, also when it is off.

    Every table is known by its own name and its history's alike. Keys are remembered for at most
    30 seconds; `forget` drops them at once.
    """

    def __init__(self, keyring: Keyring, keys: PersonKeys, *, is_on: bool) -> None:
        self.keyring = keyring
        self.is_on = is_on
        self._keys = keys
        self._locks: OrderedDict[tuple[int, str], _Remembered] = OrderedDict()
        self._generation = 0
        self._checked_until = 0.0

    async def seal(self, table_name: str, row: MutableMapping[str, Any]) -> tuple[UsedKey, ...]:
        """Seal the row's texts in place; None and empty values stay, and all when it is off.

        Returns:
            The people's keys it was sealed under, none of which may be destroyed before the row is
            stored: else it could never be read.

        Raises:
            KeyMissing: a master key is missing.
            DatabaseUnavailable: a person's key is not remembered and Postgres cannot be reached.
        """
        if not self.is_on:
            return ()
        project_id, people = row["project_id"], _people_of(row)
        used = self._remembered(project_id, people) or await self._make(project_id, people)
        table = live_name(table_name)
        for column in sealed_columns(table):
            value = row.get(column)
            if value:
                row[column] = close_text(used.lock, Place(project_id, table, column), people, value)
        return used.keys

    async def unseal(self, table_name: str, rows: Sequence[Any]) -> set[int]:
        """Open the texts of dicts or ORM rows in place; rows need their `project_id`.

        A text whose key was destroyed becomes None; what was never sealed stays as it is. ORM rows
        do not count as changed by it.

        Returns:
            The positions of the rows that lost a text to a destroyed key.

        Raises:
            KeyMissing: a master key is missing; the message names it.
            UnreadableText: a text was changed, or moved to where it does not belong.
            DatabaseUnavailable: Postgres cannot be reached.
        """
        table = live_name(table_name)
        found = [text for at, row in enumerate(rows) for text in find_sealed(table, at, row)]
        if not found:
            return set()
        locks = await self._locks_of({text.seal for text in found})
        lost: set[int] = set()
        for count, text in enumerate(found, start=1):
            lock = locks[text.seal]
            if lock is None:
                lost.add(text.position)
            _put(rows[text.position], text.place.column, lock and open_text(lock, text))
            if count % _AT_ONCE == 0:
                await asyncio.sleep(0)
        return lost

    async def require_keys(self) -> None:
        """Pass when every stored data key opens; that they do is remembered for a minute.

        Raises:
            KeyMissing: a master key is missing; the message names it.
            DatabaseUnavailable: Postgres cannot be reached.
        """
        if time.monotonic() >= self._checked_until:
            await self._keys.check()
            self._checked_until = time.monotonic() + _CHECK_EVERY_S

    def forget(self, _: str = "") -> None:
        """Drop every remembered key; the next text reads them again."""
        self._generation += 1
        self._locks.clear()

    def _remembered(self, project_id: int, people: str) -> _Remembered | None:
        entry = self._locks.get((project_id, people))
        if entry is None or time.monotonic() - entry.since > CACHE_S:
            return None
        self._locks.move_to_end((project_id, people))
        return entry

    async def _make(self, project_id: int, people: str) -> _Remembered:
        generation, started = self._generation, time.monotonic()
        owners = _owners(project_id, people)
        made = await self._keys.made(owners)
        lock = derive_lock([_living(made[owner]) for owner in owners], people)
        keys = tuple((*owner, made[owner].made_at) for owner in owners if owner[1] != PROJECT)
        entry = _Remembered(started, lock, keys)
        if generation == self._generation:
            self._locks[project_id, people] = entry
            while len(self._locks) > CACHE_SIZE:
                self._locks.popitem(last=False)
        return entry

    async def _locks_of(self, seals: set[Seal]) -> dict[Seal, Lock | None]:
        """The lock of each; None where a key of it was destroyed."""
        locks: dict[Seal, Lock | None] = {}
        for seal in seals:
            remembered = self._remembered(seal.project_id, seal.people)
            if remembered is not None and remembered.lock.id == seal.lock_id:
                locks[seal] = remembered.lock
        unknown = seals - locks.keys()
        if unknown:
            owners = {owner for seal in unknown for owner in _owners(seal.project_id, seal.people)}
            keys = await self._keys.stored(owners)
            locks |= {seal: _lock_for(seal, keys) for seal in unknown}
        return locks


def open_cipher(settings: Settings, sessions: async_sessionmaker[AsyncSession]) -> FieldCipher:
    """The cipher of this deployment; without encryption and keys it refuses what is sealed.

    `sessions` read and make data keys in transactions of their own, also while the caller holds a
    connection: give them a pool of their own where many requests may do so at once.

    Raises:
        ConfigError: the master keys are wrong, or encryption is on without any.
    """
    keyring = load_keyring(settings)
    return FieldCipher(keyring, PersonKeys(sessions, keyring), is_on=settings.encryption == "on")


def _people_of(row: MutableMapping[str, Any]) -> str:
    """Whom the row names, as its sealed texts repeat it."""
    rater, subjects = row.get("clinician_id"), row.get("subjects")
    if not subjects:
        return _quoted(rater) if rater else PROJECT
    return "+".join(sorted(map(_quoted, {*subjects, rater} if rater else set(subjects))))


def _quoted(person: str) -> str:
    """A pseudonym as it is; what came into the table another way, without `:` and `+`."""
    return person if person.isidentifier() else quote(person, safe=" ")


def _owners(project_id: int, people: str) -> list[Owner]:
    return [(project_id, unquote(person)) for person in people.split("+")]


def _living(key: DataKey) -> bytes:
    """The key; nothing may ever be sealed under an empty one, which everybody has.

    Raises:
        Overloaded: it was destroyed since it was made.
    """
    if key.key is None:
        raise key_destroyed()
    return key.key


def key_destroyed() -> Overloaded:
    """What is said of a post whose texts were sealed for somebody who was just erased."""
    return Overloaded(
        "Somebody whom this post names was erased while it was on its way; retry.", retry_after_s=1
    )


def _lock_for(seal: Seal, keys: Mapping[Owner, DataKey]) -> Lock | None:
    found = [keys.get(owner) for owner in _owners(seal.project_id, seal.people)]
    living = [key.key for key in found if key is not None and key.key is not None]
    if len(living) == len(found):
        lock = derive_lock(living, seal.people)
        if lock.id == seal.lock_id:
            return lock
    if any(key is not None and key.was_destroyed for key in found):
        return None
    raise UnreadableText(
        "A sealed text names a key that is not in rlhf_subject_keys and was not destroyed: the "
        "text was changed, or the table is not the one it was stored with. Restore a backup."
    )


def _put(row: Any, column: str, value: Any) -> None:
    """ORM rows take it as if it had been read so: nothing plain is ever flushed back."""
    if isinstance(row, dict):
        row[column] = value
    else:
        set_committed_value(row, column, value)
