"""Which format a file has, by its name or as one says."""

from pathlib import Path
from typing import Literal

from services.trainer.batch_scoring.parquet_source import ParquetRows
from services.trainer.batch_scoring.rows import Source
from services.trainer.batch_scoring.text_sources import STANDARD_INPUT, CsvRows, JsonLines
from shared.errors import InvalidInput

Format = Literal["jsonl", "csv", "tsv", "parquet"]
DELIMITERS: dict[Format, str] = {"csv": ",", "tsv": "\t"}
STANDARD_STREAM = STANDARD_INPUT

_BY_SUFFIX: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}


def format_of(path: Path, said: Format | None = None) -> Format:
    """The format of a file to read or to write; standard input and output are JSON Lines.

    Raises:
        InvalidInput: the name does not say it, or it is none for that file.
    """
    is_packed = path.suffix == ".gz"
    suffix = path.with_suffix("").suffix if is_packed else path.suffix
    found = said or ("jsonl" if path == STANDARD_STREAM else _BY_SUFFIX.get(suffix))
    if found is None:
        raise InvalidInput(
            f"{path} is none of .jsonl, .csv, .tsv or .parquet (the first three also with .gz): "
            "say how it is written with --format, or --output-format."
        )
    if found == "parquet" and is_packed:
        raise InvalidInput(f"{path}: Parquet is compressed by itself, leave out .gz.")
    if found != "jsonl" and path == STANDARD_STREAM:
        raise InvalidInput("Standard input and output are JSON Lines; name a file for others.")
    return found


def open_source(path: Path, found: Format) -> Source:
    """A file as chunks.

    Raises:
        InvalidInput: it cannot be read, or is not of the format.
    """
    if found == "parquet":
        return ParquetRows(path)
    if found == "jsonl":
        return JsonLines(path)
    return CsvRows(path, DELIMITERS[found])


def scored_name(path: Path, written: Format | None = None) -> Path:
    """Where the scored file goes unless it is said: `pairs.scored.jsonl` beside `pairs.jsonl`.

    `written` is the format it gets if that is said; a name that tells of another one is changed.
    """
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    suffix = path.name[len(plain.stem) :]
    if written is not None and _BY_SUFFIX.get(plain.suffix) != written:
        suffix = f".{written}"
    return path.with_name(f"{plain.stem}.scored{suffix}")
