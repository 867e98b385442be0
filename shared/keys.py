"""API keys: `heed_<public id>_<secret>`, stored as a hash, checked in constant time.

A check is remembered for at most 30 seconds; revoking or rotating notifies the other processes,
which forget at once.
"""

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from shared.db.audit import audit
from shared.db.columns import Json
from shared.db.faults import reaching_database
from shared.db.tables import ApiKey
from shared.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated

CHANNEL = "heed_keys"
CACHE_S = 30.0
CACHE_SIZE = 4096
UNKNOWN = "unknown"
NOT_VALID = "is unknown, revoked or expired"


class Scope(StrEnum):
    """What a key may do; a key holds a set of them."""

    FEEDBACK_WRITE = "feedback:write"
    FEEDBACK_READ = "feedback:read"
    REVIEW = "review"
    TRAIN = "train"
    SCORE = "score"
    MODELS = "models"
    ADMIN = "admin"
    ERASE = "erase"


@dataclass(frozen=True)
class Principal:
    """Who sent a request: the key's public id, its project and its scopes."""

    public_id: str
    project_id: int
    scopes: frozenset[str]

    @property
    def actor(self) -> str:
        """How the audit log names the key."""
        return f"key:{self.public_id}"


def token_of(headers: Mapping[str, str]) -> str:
    """The token a request carries: `Authorization: Bearer …` in any case, else `X-API-Key`.

    Another scheme in `Authorization`, such as a proxy's Basic, does not hide the `X-API-Key`.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return (token if scheme.lower() == "bearer" else headers.get("x-api-key", "")).strip()


def require(principal: Principal, scope: Scope) -> None:
    """Pass when the key holds the scope.

    Raises:
        Forbidden: it does not; the message names the scope.
    """
    if scope not in principal.scopes:
        raise Forbidden(
            f"Key {principal.public_id} lacks the scope {scope}. Use a key that has it, or make "
            f"one: heed keys create NAME --scope {scope}."
        )


async def create_key(
    session: AsyncSession,
    *,
    name: str,
    scopes: Iterable[str],
    project_id: int = 1,
    expires_at: datetime | None = None,
    made_by: str = UNKNOWN,
) -> str:
    """Store a new key and return its token, which cannot be shown again.

    Raises:
        InvalidInput: a scope is unknown or there is none.
    """
    public_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    key = ApiKey(
        public_id=public_id,
        project_id=project_id,
        name=name,
        secret_sha256=_digest(secret),
        scopes=_known_scopes(scopes),
        expires_at=expires_at,
    )
    session.add(key)
    await session.flush()
    _tell(session, "key.create", key, made_by, {"name": name, "scopes": key.scopes})
    return f"heed_{public_id}_{secret}"


async def revoke_key(
    session: AsyncSession, public_id: str, *, project_id: int = 1, revoked_by: str = UNKNOWN
) -> ApiKey:
    """Make a key invalid at once, everywhere. Revoking it again changes nothing.

    Raises:
        NotFound: the project has no such key.
    """
    key = await find_key(session, public_id, project_id=project_id, for_update=True)
    if key.revoked_at is None:
        key.revoked_at = datetime.now(UTC)
        _tell(session, "key.revoke", key, revoked_by)
    await _notify(session, public_id)
    return key


async def rotate_key(
    session: AsyncSession,
    public_id: str,
    *,
    project_id: int = 1,
    overlap: timedelta = timedelta(0),
    rotated_by: str = UNKNOWN,
) -> str:
    """Replace a key by a new one with the same name, scopes and expiry; return the new token.

    The old key goes on for `overlap`, so that clients can change over without a refused request,
    but never beyond its own expiry.

    Raises:
        NotFound: the project has no such key.
        Conflict: the key is revoked or expired already.
    """
    old = await find_key(session, public_id, project_id=project_id, for_update=True)
    if old.revoked_at is not None or _expired(old):
        raise Conflict(f"Key {public_id} is revoked or expired; create a new one instead.")
    token = await create_key(
        session,
        name=old.name,
        scopes=old.scopes,
        project_id=project_id,
        expires_at=old.expires_at,
        made_by=rotated_by,
    )
    now = datetime.now(UTC)
    if overlap:
        old.expires_at = min(now + overlap, old.expires_at or now + overlap)
    else:
        old.revoked_at = now
    _tell(session, "key.rotate", old, rotated_by, {"overlap_s": int(overlap.total_seconds())})
    await _notify(session, public_id)
    return token


async def find_key(
    session: AsyncSession, public_id: str, *, project_id: int = 1, for_update: bool = False
) -> ApiKey:
    """The stored key, revoked or not.

    Raises:
        NotFound: the project has no such key.
    """
    key = await session.get(ApiKey, public_id, populate_existing=True, with_for_update=for_update)
    if key is None or key.project_id != project_id:
        raise NotFound(f"There is no key {public_id[:32]}; `heed keys list` shows those there are.")
    return key


async def list_keys(session: AsyncSession, *, project_id: int = 1) -> list[ApiKey]:
    """All keys of a project, newest first; secrets are not stored and so not in them."""
    statement = select(ApiKey).where(col(ApiKey.project_id) == project_id)
    return list(await session.scalars(statement.order_by(col(ApiKey.created_at).desc())))


async def _notify(session: AsyncSession, public_id: str) -> None:
    await session.execute(select(func.pg_notify(CHANNEL, public_id)))


def _tell(
    session: AsyncSession, action: str, key: ApiKey, actor: str, detail: Json | None = None
) -> None:
    target = f"key:{key.public_id}"
    audit(session, action, actor=actor, target=target, project_id=key.project_id, detail=detail)


class KeyCache:
    """Checks tokens against stored keys, remembering each for at most 30 seconds."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions
        self._entries: dict[str, tuple[float, ApiKey | None]] = {}
        self._reading: dict[str, asyncio.Task[ApiKey | None]] = {}
        self._generation = 0

    async def check(self, token: str | None) -> Principal:
        """Who the token belongs to.

        Raises:
            Unauthenticated: there is no token, or it is unknown, expired or revoked.
            DatabaseUnavailable: it is not remembered and Postgres cannot be reached.
        """
        public_id, secret = _split(token)
        key = await self._stored(public_id)
        expected = key.secret_sha256 if key else bytes(32)
        matches = hmac.compare_digest(_digest(secret), expected)
        if not matches:
            raise _refusal(NOT_VALID)
        return _principal(key)

    async def find(self, public_id: str) -> Principal:
        """Who a key is that something else speaks for, such as a token signed on its behalf.

        Raises:
            Unauthenticated: it is unknown, expired or revoked.
            DatabaseUnavailable: it is not remembered and Postgres cannot be reached.
        """
        return _principal(await self._stored(public_id))

    def forget(self, public_id: str | None = None) -> None:
        """Drop one remembered key, or all when none is named."""
        self._generation += 1
        if public_id is None:
            self._entries.clear()
        else:
            self._entries.pop(public_id, None)

    async def _stored(self, public_id: str) -> ApiKey | None:
        entry = self._entries.get(public_id)
        if entry is not None and time.monotonic() - entry[0] < CACHE_S:
            return entry[1]
        reading = self._reading.get(public_id)
        if reading is None:
            reading = asyncio.create_task(self._read(public_id))
            self._reading[public_id] = reading
            reading.add_done_callback(lambda _: self._reading.pop(public_id, None))
        return await asyncio.shield(reading)

    async def _read(self, public_id: str) -> ApiKey | None:
        generation, started = self._generation, time.monotonic()
        with reaching_database():
            async with self._sessions() as session:
                key = await session.get(ApiKey, public_id)
        if generation == self._generation:
            while len(self._entries) >= CACHE_SIZE:
                del self._entries[next(iter(self._entries))]
            self._entries[public_id] = (started, key)
        return key


def _principal(key: ApiKey | None) -> Principal:
    if key is None or key.revoked_at or _expired(key):
        raise _refusal(NOT_VALID)
    return Principal(key.public_id, key.project_id, frozenset(key.scopes))


def _split(token: str | None) -> tuple[str, str]:
    if not token:
        raise _refusal("is missing")
    parts = token.split("_", 2)
    if len(parts) != 3 or parts[0] != "heed" or not (parts[1].isascii() and parts[1].isalnum()):
        raise _refusal("does not look like heed_<id>_<secret>")
    return parts[1], parts[2]


def _refusal(what: str) -> Unauthenticated:
    return Unauthenticated(
        f"The API key {what}. Send it as `Authorization: Bearer heed_…`; "
        "`heed keys create` makes one."
    )


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _expired(key: ApiKey) -> bool:
    return key.expires_at is not None and key.expires_at <= datetime.now(UTC)


def _known_scopes(scopes: Iterable[str]) -> list[str]:
    wanted = sorted(set(scopes))
    unknown = [scope for scope in wanted if scope not in set(Scope)]
    if unknown or not wanted:
        named = ", ".join(unknown) or "none given"
        raise InvalidInput(f"Unknown scopes: {named}. There are: {', '.join(Scope)}.")
    return wanted
