"""The outbox's files: private to their owner, opened one by one, set aside when damaged."""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from heed_client.errors import HeedMisuse

try:
    import fcntl
except ImportError:  # Windows; without locks two processes may send a post twice, stored once
    fcntl = None  # type: ignore[assignment]

APPLICATION_ID = 0x48454544  # "HEED"
LOG_PAGES = 256  # 1 MiB: the log must fit the room that the store leaves on a full disk
BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_held: set[int] = set()
log = logging.getLogger("heed_client.outbox")
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS post (seq INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL,"
    " target BLOB NOT NULL, body BLOB NOT NULL, failures INTEGER NOT NULL DEFAULT 0,"
    " not_before REAL NOT NULL DEFAULT 0)",
    "CREATE INDEX IF NOT EXISTS post_by_target ON post (target, seq)",
    "CREATE TABLE IF NOT EXISTS refused (seq INTEGER PRIMARY KEY, path TEXT NOT NULL,"
    " target BLOB NOT NULL, body BLOB NOT NULL, problem TEXT NOT NULL, refused_at REAL NOT NULL)",
)


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Whether this process holds the lock beside the outbox; the kernel frees a dead one's."""
    if fcntl is None:
        yield True
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    _held.add(descriptor)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


def release_inherited() -> None:
    """In a forked child: let go of its parent's locks, which it would hold as long as it lives."""
    while _held:
        os.close(_held.pop())


def is_broken(error: sqlite3.Error) -> bool:
    """Whether the file itself is damaged, rather than busy or out of space."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in BROKEN


def open_database(path: Path, *, max_bytes: int) -> sqlite3.Connection:
    """A connection whose commits survive a killed process and a power cut.

    A damaged file is renamed, with a warning in the log, and a new one made.

    Raises:
        HeedMisuse: the file is a database of something else.
        sqlite3.Error, OSError: it cannot be opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(path.with_name(path.name + ".opening"), wait=True):
        try:
            return _opened(path, max_bytes)
        except sqlite3.DatabaseError as error:
            if not is_broken(error):
                raise
        _set_aside(path)
        return _opened(path, max_bytes)


def _opened(path: Path, max_bytes: int) -> sqlite3.Connection:
    _make_private(path)
    connection = sqlite3.connect(
        path, timeout=5.0, isolation_level=None, check_same_thread=False, cached_statements=32
    )
    try:
        _prepare(connection, max_bytes)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, max_bytes: int) -> None:
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    is_new = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if owner != APPLICATION_ID and not is_new:
        raise HeedMisuse("The outbox's file is a database of something else; name another file.")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
    if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        broken = sqlite3.DatabaseError("the file is damaged")
        broken.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise broken
    for statement in SCHEMA:
        connection.execute(statement)
    if is_new:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    page = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {max(16, max_bytes // page)}")


def _make_private(path: Path) -> None:
    """Only its owner reads it; SQLite gives its companions the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        # Not opened here: closing it would drop the locks of another connection in this process.
        path.chmod(0o600)


def _set_aside(path: Path) -> None:
    number = next(n for n in range(1, 10_000) if not _aside(path, n).exists())
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(_aside(path, number, suffix))
    log.warning(
        "the outbox %s is damaged and was renamed to %s; what it held was not sent",
        path.name,
        _aside(path, number).name,
    )


def _aside(path: Path, number: int, suffix: str = "") -> Path:
    return path.with_name(f"{path.name}.damaged-{number}{suffix}")
