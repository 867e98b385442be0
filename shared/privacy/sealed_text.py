"""How a sealed text is written, and what opens it; which columns of which tables are sealed.

A sealed text says what it needs: `heed:1:<lock>:<people>:<base64 of nonce and ciphertext>`. Its
lock is derived from the data keys of all people it names, so destroying any of these makes it
unreadable; a text that names nobody is under its project's own key. `<lock>` recognises the derived
key and does not give it away. The ciphertext, AES-256-GCM, is bound to project, table, column and
people. A JSON column holds `{"$sealed": "<that text>"}`.
"""

import base64
import binascii
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic_core import from_json, to_json

from shared.errors import UnreadableText
from shared.privacy.keyring import KEY_BYTES, NONCE_BYTES

MARK = "heed:1:"
JSON_MARK = "$sealed"
SEALED: dict[str, tuple[str, ...]] = {
    "rlhf_feedback": (
        "user_query",
        "agent_response",
        "structured_response",
        "step_content",
        "comments",
        "correction",
        "corrected_response",
        "annotations",
    ),
    "rlhf_preferences": (
        "prompt",
        "response_a",
        "response_b",
        "candidates",
        "reasons",
        "comments",
    ),
    "rlhf_interaction_records": ("user_prompt", "ai_response", "structured_response"),
    "reasoning_steps": ("step_content",),
}
JSON_COLUMNS = frozenset(
    {"structured_response", "correction", "annotations", "candidates", "reasons"}
)
_LOCK_ID_BYTES = 8


@dataclass(frozen=True, slots=True)
class Place:
    """A column of a table of one project: what a ciphertext is bound to, with its people."""

    project_id: int
    table: str
    column: str


@dataclass(frozen=True, slots=True)
class Lock:
    """What seals and opens the texts of one set of people."""

    aead: AESGCM
    id: str


@dataclass(frozen=True, slots=True)
class Seal:
    """What a sealed text says of itself: which lock of which people opens it."""

    project_id: int
    people: str
    lock_id: str


@dataclass(frozen=True, slots=True)
class SealedText:
    """A sealed text, taken apart; `position` is that of its row among those it was read with."""

    position: int
    place: Place
    seal: Seal
    sealed: bytes


def sealed_columns(table_name: str) -> tuple[str, ...]:
    """The columns of a table, or of its history, whose values are sealed."""
    return SEALED[live_name(table_name)]


def live_name(table_name: str) -> str:
    """The table whose rows a history keeps; texts move there as they are."""
    return table_name.removesuffix("_history")


def is_sealed(value: object) -> bool:
    """Whether a column's value is a sealed text, or looks like one."""
    return (isinstance(value, str) and value.startswith(MARK)) or (
        isinstance(value, dict) and JSON_MARK in value
    )


def derive_lock(keys: Collection[bytes], people: str) -> Lock:
    """The lock that only all of these keys together make; `keys` in the order of the people."""
    info = f"heed sealed text 1\0{people}".encode()
    made = HKDF(SHA256(), KEY_BYTES + _LOCK_ID_BYTES, salt=None, info=info).derive(b"".join(keys))
    return Lock(AESGCM(made[:KEY_BYTES]), made[KEY_BYTES:].hex())


def close_text(lock: Lock, place: Place, people: str, value: Any) -> Any:
    """The value as it is stored, sealed with a nonce of its own."""
    is_json = place.column in JSON_COLUMNS
    plain = to_json(value) if is_json else value.encode()
    nonce = os.urandom(NONCE_BYTES)
    sealed = nonce + lock.aead.encrypt(nonce, plain, _bound_to(place, people))
    text = f"{MARK}{lock.id}:{people}:{base64.b64encode(sealed).decode()}"
    return {JSON_MARK: text} if is_json else text


def find_sealed(table: str, position: int, row: Any) -> Iterator[SealedText]:
    """The sealed texts of one row, a dict or an ORM row.

    Raises:
        UnreadableText: one is cut off or otherwise not of the form.
    """
    for column in SEALED[table]:
        value = _read(row, column)
        if is_sealed(value):
            text = value[JSON_MARK] if isinstance(value, dict) else value
            yield _taken_apart(text, position, Place(_read(row, "project_id"), table, column))


def open_text(lock: Lock, text: SealedText) -> Any:
    """What was sealed.

    Raises:
        UnreadableText: it was changed, or sealed for another place or other people.
    """
    nonce, ciphertext = text.sealed[:NONCE_BYTES], text.sealed[NONCE_BYTES:]
    try:
        plain = lock.aead.decrypt(nonce, ciphertext, _bound_to(text.place, text.seal.people))
    except (InvalidTag, ValueError):
        raise _changed(text.place) from None
    return from_json(plain) if text.place.column in JSON_COLUMNS else plain.decode()


def _read(row: Any, column: str) -> Any:
    return row.get(column) if isinstance(row, dict) else getattr(row, column, None)


def _taken_apart(text: object, position: int, place: Place) -> SealedText:
    try:
        lock_id, people, encoded = str(text).removeprefix(MARK).split(":")
        sealed = base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error):
        raise _changed(place) from None
    return SealedText(position, place, Seal(place.project_id, people, lock_id), sealed)


def _bound_to(place: Place, people: str) -> bytes:
    return f"{MARK}\0{place.project_id}\0{place.table}\0{place.column}\0{people}".encode()


def _changed(place: Place) -> UnreadableText:
    return UnreadableText(
        f"A sealed text in {place.table}.{place.column} is not what was sealed there: it was "
        "changed, or moved from other people, another column or project. Restore it from a backup."
    )
