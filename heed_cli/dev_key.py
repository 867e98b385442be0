"""The development key: every scope, in a file only its owner reads, and only on loopback."""

import os
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from heed_cli.database import in_transaction
from shared.db.audit import person_name
from shared.errors import NotFound
from shared.keys import Scope, create_key, find_key

NAME = "development"


def prepare_dev_key(url: str, path: Path) -> None:
    """Leave a valid key in the file: the one it holds, else a new one."""
    held = path.read_text().strip() if path.exists() else ""
    token = in_transaction(url, lambda session: _held_or_new(session, held))
    if token != held:
        _write_private(path, token)


async def _held_or_new(session: AsyncSession, token: str) -> str:
    """A key made earlier is unknown to the database after a restore, or was revoked."""
    public_id = token.removeprefix("heed_").partition("_")[0]
    try:
        key = await find_key(session, public_id)
    except NotFound:
        key = None
    if key is None or key.revoked_at is not None:
        return await create_key(session, name=NAME, scopes=list(Scope), made_by=person_name())
    return token


def _write_private(path: Path, token: str) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.touch(mode=0o600)
    aside.write_text(token + "\n")
    aside.replace(path)
