"""`heed encryption new-key | status | rotate | seal | unseal`."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer
from rich.table import Table
from rich.text import Text

from heed_cli.deployment import Deployment
from heed_cli.services import DataDir
from heed_cli.terminal import cells, console, done, hint, note, say, working

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

    from shared.config import Settings
    from shared.privacy.fields import FieldCipher
    from shared.privacy.resealing import KeyState, Progress, TableState

    Sessions = async_sessionmaker[AsyncSession]

T = TypeVar("T")
app = typer.Typer(help="Encrypt stored texts, and look after the keys.", no_args_is_help=True)


@app.command("new-key")
def new_key() -> None:
    """Make a master key: one entry of HEED_ENCRYPTION_KEYS, one line of the key file."""
    from shared.privacy.keyring import new_master_key

    say(new_master_key())


@app.command()
def status(data_dir: DataDir = None) -> None:
    """Which master keys are in use, and how much of each table is encrypted."""
    from shared.privacy.resealing import key_states, table_states

    async def read(
        sessions: "Sessions", cipher: "FieldCipher"
    ) -> "tuple[bool, list[KeyState], list[TableState]]":
        async with sessions() as session:
            keys = await key_states(session, cipher.keyring)
            return cipher.is_on, keys, await table_states(session)

    is_on, keys, tables = _with_cipher(data_dir, read)
    say(f"New texts are stored {'encrypted' if is_on else 'as they are'}.\n")
    _print(("master key", "data keys", ""), [(k.key_id, k.data_keys, _said(k)) for k in keys])
    say()
    counts = [(t.name, t.rows, t.sealed, t.plain) for t in tables]
    _print(("table", "rows", "with encrypted texts", "with plain texts"), counts)


@app.command()
def rotate(data_dir: DataDir = None) -> None:
    """Wrap every data key under the first master key, while services run."""
    from shared.privacy import resealing

    async def work(sessions: "Sessions", cipher: "FieldCipher") -> tuple[int, list[str]]:
        count = await resealing.rotate(sessions, cipher.keyring)
        async with sessions.begin() as session:
            states = await resealing.key_states(session, cipher.keyring)
            _audit(session, "encryption.rotate", f"master-key:{cipher.keyring.active_id}", count)
        return count, [key.key_id for key in states if key.data_keys and not key.is_active]

    count, left = _with_cipher(data_dir, work)
    done("rotate", f"{count} data keys are under the first master key now")
    if left:
        note("rotate", f"some are still under {', '.join(left)}: run it again")
    else:
        hint("    No data key needs another one: the others may go once backups do not need them.")


@app.command()
def seal(data_dir: DataDir = None) -> None:
    """Encrypt what was stored before encryption was on, in portions, while services run."""
    from shared.privacy.resealing import seal_stored

    count = _exchange(data_dir, "encryption.seal", seal_stored)
    done("seal", f"{count} rows encrypted")
    hint("    Postgres overwrites the plain versions over time; VACUUM FULL does so at once.")


@app.command()
def unseal(data_dir: DataDir = None) -> None:
    """Store encrypted texts plain again; those of destroyed keys stay unreadable."""
    from shared.privacy.resealing import unseal_stored

    done("unseal", f"{_exchange(data_dir, 'encryption.unseal', unseal_stored)} rows decrypted")


def with_cipher(
    settings: "Settings", url: str, work: "Callable[[Sessions, FieldCipher], Awaitable[T]]"
) -> T:
    """What `work` returns, given sessions on this database and the deployment's cipher.

    Raises:
        HeedError: the database or a master key is missing, or `work` refused.
    """
    from shared.db.engine import create_engine, create_sessions
    from shared.db.faults import reaching_database
    from shared.db.migrate import require_current
    from shared.privacy.fields import open_cipher

    async def run() -> T:
        engine = create_engine(url)
        try:
            with reaching_database():
                await require_current(engine)
                sessions = create_sessions(engine)
                return await work(sessions, open_cipher(settings, sessions))
        finally:
            await engine.dispose()

    return asyncio.run(run())


def _with_cipher(
    data_dir: Path | None, work: "Callable[[Sessions, FieldCipher], Awaitable[T]]"
) -> T:
    from shared.db.connect import database

    settings = Deployment.of(data_dir).settings
    with database(settings) as url:
        return with_cipher(settings, url, work)


def _exchange(
    data_dir: Path | None,
    action: str,
    exchange: "Callable[[Sessions, FieldCipher, Progress], Awaitable[int]]",
) -> int:
    with working("reading …") as show:

        async def work(sessions: "Sessions", cipher: "FieldCipher") -> int:
            count = await exchange(
                sessions, cipher, lambda table, rows: show(f"{table}: {rows} rows")
            )
            async with sessions.begin() as session:
                _audit(session, action, "rows", count)
            return count

        return _with_cipher(data_dir, work)


def _audit(session: "AsyncSession", action: str, target: str, count: int) -> None:
    from shared.db.audit import audit, person_name

    audit(session, action, actor=person_name(), target=target, detail={"count": count})


def _said(key: "KeyState") -> Text:
    if not key.is_here:
        return Text("missing", "red")
    if key.is_active:
        return Text("active", "green")
    return Text("needed" if key.data_keys else "not needed")


def _print(headings: tuple[str, ...], rows: Sequence[tuple[Text | str | int, ...]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*cells(*(str(v) if isinstance(v, int) else v for v in row)))
    console.print(table)
