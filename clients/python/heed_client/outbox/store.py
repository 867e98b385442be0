"""The posts on disk, in SQLite: one commit and one fsync for each call, in the order they came."""

import hashlib
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from heed_client.calls import Post
from heed_client.encoding import to_json
from heed_client.errors import Problem
from heed_client.outbox.files import is_broken, open_database
from heed_client.outbox.records import Refused, Waiting

HEADROOM = 8 * 1024 * 1024  # bytes left free on the disk
INSERT = "INSERT INTO post (path, target, body) VALUES (?, ?, ?)"
# The oldest post of each target; its younger ones wait, so that their order is kept. A time far
# ahead is from a clock that has been set back since.
HEADS = """
SELECT seq, path, body, failures FROM post
WHERE (:hurry OR not_before <= :now OR not_before > :now + 3600) AND NOT EXISTS (
    SELECT 1 FROM post AS older WHERE older.target = post.target AND older.seq < post.seq
) ORDER BY seq LIMIT :limit
"""
POSTPONE = "UPDATE post SET failures = failures + 1, not_before = ? WHERE seq = ?"
REFUSE = """
INSERT OR REPLACE INTO refused
SELECT seq, path, target, body, ?, ? FROM post WHERE seq = ?
"""
FORGET_OLD = """
DELETE FROM refused WHERE seq <= (SELECT seq FROM refused ORDER BY seq DESC LIMIT 1 OFFSET ?)
"""


class Store:
    """The posts of one outbox. Every method may be called from any thread.

    Each raises sqlite3.Error or OSError when the disk does not do its part.
    """

    def __init__(self, path: Path, *, capacity: int, max_bytes: int) -> None:
        self.path = path
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    def put(self, posts: Sequence[Post]) -> list[bool]:
        """Which posts were kept; they are on disk when this returns."""
        rows = [(post.path, _hash(post.target), to_json(post.body)) for post in posts]
        with self._transaction() as connection:
            room = self._capacity - connection.execute("SELECT count(*) FROM post").fetchone()[0]
            kept = rows[: max(0, room)] if self._has_space(rows) else []
            connection.executemany(INSERT, kept)
        return [place < len(kept) for place in range(len(rows))]

    def _has_space(self, rows: Sequence[tuple[str, bytes, bytes]]) -> bool:
        """Whether the disk would keep room for the log, without which nothing can be erased."""
        size = sum(len(body) for _, _, body in rows)
        return shutil.disk_usage(self.path.parent).free >= HEADROOM + 2 * size

    def heads(self, now: float, limit: int, *, hurry: bool) -> list[Waiting]:
        """The posts that may be sent now, the oldest of each target, oldest first.

        In a hurry those that were postponed are among them.
        """
        said = {"now": now, "limit": limit, "hurry": hurry}
        with self._connected() as connection:
            found = connection.execute(HEADS, said).fetchall()
        return [Waiting(*row) for row in found]

    def forget(self, seqs: Sequence[int]) -> int:
        """Erase posts that are stored elsewhere now; how many there were."""
        with self._transaction() as connection:
            cursor = connection.executemany(
                "DELETE FROM post WHERE seq = ?", [(seq,) for seq in seqs]
            )
            return max(0, cursor.rowcount)

    def postpone(self, seqs: Sequence[int], until: float) -> None:
        """Not before that time."""
        with self._transaction() as connection:
            connection.executemany(POSTPONE, [(until, seq) for seq in seqs])

    def refuse(self, seq: int, problem: Problem, now: float) -> bool:
        """Move a post to the refused ones; whether it was still there."""
        with self._transaction() as connection:
            connection.execute(REFUSE, (problem.model_dump_json(), now, seq))
            found = connection.execute("DELETE FROM post WHERE seq = ?", (seq,)).rowcount
            connection.execute(FORGET_OLD, (self._capacity,))
        return found > 0

    def refused(self) -> list[Refused]:
        """The posts that the service refused for good, oldest first."""
        query = "SELECT path, body, seq, problem, refused_at FROM refused ORDER BY seq"
        with self._connected() as connection:
            rows = connection.execute(query).fetchall()
        return [
            Refused(path, body, seq, Problem.model_validate_json(problem), at)
            for path, body, seq, problem, at in rows
        ]

    def discard_refused(self) -> int:
        """Erase the refused ones; how many there were."""
        with self._transaction() as connection:
            return connection.execute("DELETE FROM refused").rowcount

    def retry_refused(self) -> int:
        """Queue the refused ones again; how many there were."""
        columns = "path, target, body"
        with self._transaction() as connection:
            connection.execute(
                f"INSERT INTO post ({columns}) SELECT {columns} FROM refused ORDER BY seq"  # noqa: S608
            )
            return connection.execute("DELETE FROM refused").rowcount

    def count(self) -> int:
        """How many posts wait."""
        with self._connected() as connection:
            return int(connection.execute("SELECT count(*) FROM post").fetchone()[0])

    def last_seq(self) -> int:
        """The number of the youngest post, 0 without any."""
        with self._connected() as connection:
            return connection.execute("SELECT max(seq) FROM post").fetchone()[0] or 0

    def is_waiting(self, up_to: int) -> bool:
        """Whether a post up to that number is still here."""
        query = "SELECT EXISTS (SELECT 1 FROM post WHERE seq <= ?)"
        with self._connected() as connection:
            return bool(connection.execute(query, (up_to,)).fetchone()[0])

    def erase_traces(self) -> bool:
        """Empty the write-ahead log, where sent texts would stay; False while somebody reads."""
        with self._connected() as connection:
            return not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def before_fork(self) -> None:
        """A connection must never cross a fork: no statement runs and none is open until after."""
        self._lock.acquire()
        with suppress(sqlite3.Error):  # whatever it is, the locks must be freed again
            self.close()

    def after_fork(self) -> None:
        """The end of `before_fork`, in both processes."""
        self._lock.release()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._connection is not None and self._file != _identity(self.path):
                self.close()  # set aside by another process, or removed
            if self._connection is None:
                self._connection = open_database(self.path, max_bytes=self._max_bytes)
                self._file = _identity(self.path)
            try:
                yield self._connection
            except sqlite3.DatabaseError as error:
                if is_broken(error):
                    self.close()  # opening it again sets it aside
                raise


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - before every statement, so without a detour
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _hash(target: str) -> bytes:
    return hashlib.sha256(target.encode("utf-8", "surrogatepass")).digest()[:16]
