"""What one asks for, checked on the file before any model is opened."""

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from services.trainer.batch_scoring.columns import Roles, find_roles
from services.trainer.batch_scoring.formats import STANDARD_STREAM, Format, open_source
from services.trainer.batch_scoring.rows import Chunk, Row, Source
from services.trainer.batch_scoring.running import strictly
from services.trainer.batch_scoring.scored import Asked
from shared.contracts.scoring import EngineChoice
from shared.errors import Conflict, InvalidInput


@dataclass(frozen=True)
class Wanted:
    """What one asks for.

    Attributes:
        file, format: what is scored; standard input as `-`.
        output, output_format: where it goes; standard output as `-`.
        prompt, response: columns that one named.
        strict: refuse the file when a row of it cannot be scored.
        restart: score anew whatever is there.
        engine: what computes the numbers, see `shared.ml.engines`.
        threads, workers: torch threads of each worker, and how many there are; 0: all cores.
        ray: address of a Ray cluster, or None.
    """

    file: Path
    format: Format
    output: Path
    output_format: Format
    prompt: str | None = None
    response: str | None = None
    extras: tuple[str, ...] = ()
    weights: tuple[tuple[str, float], ...] = ()
    prefix: str = ""
    strict: bool = False
    restart: bool = False
    engine: EngineChoice = "auto"
    threads: int = 1
    workers: int = 0
    ray: str | None = None

    @property
    def is_stream(self) -> bool:
        """Whether rows go through as they come, so that nothing can go on after a kill."""
        return STANDARD_STREAM in (self.file, self.output)


@dataclass(frozen=True)
class Prepared:
    """A file that was opened, what is asked of its rows, and its chunks, to be read once."""

    wanted: Wanted
    source: Source
    asked: Asked
    chunks: Iterator[Chunk]


def prepare(wanted: Wanted) -> Prepared:
    """Open the file and find out what its columns mean, before any model is opened.

    Raises:
        InvalidInput: it cannot be read, its columns say nothing, or a row is bad and that matters.
        Conflict: the scored file is there already.
    """
    _refuse_wish(wanted)
    source = open_source(wanted.file, wanted.format)
    chunks = source.chunks()
    first = next(chunks, None)
    row = _first_readable(wanted, first)
    roles = find_roles(
        source.columns or row.values or ("response",),
        prompt=wanted.prompt,
        response=wanted.response,
    )
    _refuse_promptless(row, roles)
    asked = Asked(roles, wanted.extras, dict(wanted.weights), wanted.prefix)
    _refuse_taken(asked, source.columns or row.values)
    all_chunks = chain([first] if first else [], chunks)
    if not wanted.strict:
        return Prepared(wanted, source, asked, all_chunks)
    if not wanted.is_stream:
        deque(strictly(source.chunks(only=roles.columns), asked), maxlen=0)
    return Prepared(wanted, source, asked, strictly(all_chunks, asked))


def _refuse_wish(wanted: Wanted) -> None:
    if wanted.ray is not None and wanted.is_stream:
        raise InvalidInput("--ray needs a file to read and a file to write.")
    if wanted.file == STANDARD_STREAM and wanted.output_format != "jsonl":
        raise InvalidInput("What comes from standard input can be written as JSON Lines only.")
    if wanted.output == STANDARD_STREAM:
        return
    if wanted.output.resolve() == wanted.file.resolve():
        raise InvalidInput(f"{wanted.output} is the file itself; name another --output.")
    if wanted.output.exists() and not wanted.restart:
        raise Conflict(
            f"{wanted.output} is there already: remove it, name another --output, or score it "
            "anew with --restart."
        )


def _first_readable(wanted: Wanted, chunk: Chunk | None) -> Row:
    """The first row that could be read; one without values of an empty file.

    Raises:
        InvalidInput: none of the first rows could be read.
    """
    if chunk is None:
        return Row(0)
    found = next((row for row in chunk.rows if row.fault is None), None)
    if found is None:
        first = chunk.rows[0]
        raise InvalidInput(
            f"{wanted.file}: none of the first {len(chunk.rows)} rows can be read. Row "
            f"{first.number}: {first.fault}. Is --format right?"
        )
    return found


def _refuse_promptless(row: Row, roles: Roles) -> None:
    texts = [isinstance(row.values.get(column), str) for column in roles.responses.values()]
    if roles.prompt is None and any(texts) and "messages" not in roles.columns:
        raise InvalidInput(
            "The responses are texts, and no column holds their prompts; name it with "
            "--prompt-column."
        )


def _refuse_taken(asked: Asked, columns: Collection[str]) -> None:
    taken = [name for name in asked.columns if name in columns]
    if taken:
        raise InvalidInput(
            f"The file has a column {taken[0]!r} of its own, which would be lost: name the columns "
            "of results otherwise with --prefix."
        )
