"""Scores chunks on the cores of this machine, of a file that must stay as it is."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from services.trainer.batch_scoring.rows import Chunk, Row, Span
from services.trainer.batch_scoring.scored import Asked, Results, read_row
from shared.errors import Conflict, InvalidInput

Score = Callable[[Sequence[Row]], Results]
Scored = tuple[Chunk, Results]
Tell = Callable[[Span], None]


def score_in_threads(chunks: Iterable[Chunk], score: Score, *, workers: int) -> Iterator[Scored]:
    """Scored chunks in their order; `workers` of them are scored at once, as many wait."""
    waiting: deque[tuple[Chunk, Future[Results]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="scoring")
    try:
        for chunk in chunks:
            waiting.append((chunk, pool.submit(score, chunk.rows)))
            if len(waiting) > 2 * workers:
                yield _first(waiting)
        while waiting:
            yield _first(waiting)
    finally:
        pool.shutdown(cancel_futures=True)


def _first(waiting: deque[tuple[Chunk, Future[Results]]]) -> Scored:
    chunk, future = waiting.popleft()
    return chunk, future.result()


def strictly(chunks: Iterable[Chunk], asked: Asked) -> Iterator[Chunk]:
    """The same chunks, as long as every row can be scored.

    Raises:
        InvalidInput: one cannot.
    """
    for chunk in chunks:
        for row in chunk.rows:
            _, error = read_row(row, asked)
            if error is not None:
                raise InvalidInput(f"Row {row.number}: {error}. Without --strict it is kept.")
        yield chunk


class Pinned:
    """A file that must stay as it is while it is scored."""

    def __init__(self, path: Path) -> None:
        """Read it once for its hash.

        Raises:
            InvalidInput: it cannot be read.
        """
        self._path = path
        self._before = _state(path)
        self.sha256 = _sha256(path)

    def check(self) -> None:
        """Pass only if nobody has written the file since.

        Raises:
            Conflict: somebody has.
        """
        if _state(self._path) != self._before:
            raise Conflict(
                f"{self._path} was changed while it was scored: score it anew with --restart."
            )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from None


def _state(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from None
    return found.st_size, found.st_mtime_ns


def _unreadable(path: Path, error: OSError) -> InvalidInput:
    return InvalidInput(f"{path} cannot be read ({error.strerror}).")
