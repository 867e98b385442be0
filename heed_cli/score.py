"""`heed score FILE --model REF`."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from heed_cli.kept_files import say_found
from heed_cli.services import DataDir
from heed_cli.terminal import done, fail, fault, note
from heed_cli.workplace import at_workplace, trainer_settings
from shared.contracts.scoring import EngineChoice, Extra, Weights
from shared.errors import InvalidInput
from shared.exports import is_kept, keep_copy
from shared.logs import configure_logs

if TYPE_CHECKING:
    from services.trainer.batch_scoring.job import Tell
    from services.trainer.batch_scoring.output import Tally
    from services.trainer.batch_scoring.preparing import Wanted
    from services.trainer.batch_scoring.rows import Span
    from services.trainer.workplace import Workplace

app = typer.Typer()
FileFormat = Literal["jsonl", "csv", "tsv", "parquet"]
_EXTRAS = (*get_args(Extra), "uncertainty")
_SPEED_OVER_S = 120.0


@app.command()
def score(  # noqa: PLR0913, PLR0917 - each is an option of the command
    file: Annotated[Path, typer.Argument(help="JSON Lines, CSV, TSV or Parquet; `-` is stdin.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Scored file, `-` is stdout; else FILE.scored.…"),
    ] = None,
    model: Annotated[
        str, typer.Option(help="`reward@3`, `reward:champion`, or an artifact folder.")
    ] = "champion",
    returns: Annotated[
        str, typer.Option("--return", help=f"Beside the score, by comma: {', '.join(_EXTRAS)}.")
    ] = "",
    weight: Annotated[
        list[str] | None, typer.Option(help="How much an aspect counts in the score: name=value.")
    ] = None,
    prompt_column: Annotated[str | None, typer.Option(help="Column of prompts.")] = None,
    response_column: Annotated[str | None, typer.Option(help="Column of responses.")] = None,
    prefix: Annotated[str, typer.Option(help="What names of result columns begin with.")] = "",
    file_format: Annotated[
        FileFormat | None, typer.Option("--format", help="How FILE is written.")
    ] = None,
    output_format: Annotated[
        FileFormat | None, typer.Option(help="How the scored file is written.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse a file with a row that cannot be scored.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget what an earlier attempt scored.")
    ] = False,
    engine: Annotated[
        EngineChoice,
        typer.Option(help="Arithmetic: the fastest that keeps the order, or this one."),
    ] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads of each worker.")] = 1,
    workers: Annotated[
        int, typer.Option(min=0, help="Chunks that are scored at once; 0: one per core.")
    ] = 0,
    ray: Annotated[
        str | None, typer.Option(help="Ray cluster: HOST:6379, `auto`, or `local` to start one.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Score every row of a file with a reward model.

    Stopped or killed, the same command goes on where it was. Rows that cannot be scored are kept
    with an `error`; the exit status is then 1.
    """
    from services.trainer.batch_scoring.formats import STANDARD_STREAM, format_of, scored_name
    from services.trainer.batch_scoring.preparing import Wanted

    target = output or (file if file == STANDARD_STREAM else scored_name(file, output_format))
    _score(
        Wanted(
            file,
            format_of(file, file_format),
            target,
            format_of(target, output_format or (file_format if output is None else None)),
            prompt=prompt_column,
            response=response_column,
            extras=_extras(returns),
            weights=_weights(weight or []),
            prefix=prefix,
            strict=strict,
            restart=restart,
            engine=engine,
            threads=threads,
            workers=workers,
            ray=ray,
        ),
        model,
        data_dir,
    )


def _score(wanted: "Wanted", reference: str, data_dir: Path | None) -> None:
    from services.trainer.batch_scoring.job import score_file
    from services.trainer.batch_scoring.model import open_model
    from services.trainer.batch_scoring.preparing import prepare

    settings = trainer_settings(data_dir)
    configure_logs(settings.log_level)  # to where no scored row goes
    prepared = prepare(wanted)
    folder, secret = _find_model(reference, data_dir)
    is_found = _enter_copy(settings.data_dir, wanted)
    with _progress() as tell:
        model = open_model(folder, secret=secret, threads=wanted.threads, engine=wanted.engine)
        began = time.monotonic()
        try:
            tally = score_file(prepared, folder, model, tell)
        except KeyboardInterrupt:
            if not wanted.is_stream:
                note("stopped", "the same command goes on from here")
            raise
    _report(wanted, tally, time.monotonic() - began)
    if is_found is not None:
        say_found(is_found)
    raise typer.Exit(1 if tally.bad else 0)


def _enter_copy(data_dir: Path, wanted: "Wanted") -> bool | None:
    """Whether an erasure finds the scored file; None of files that are no business of Heed."""
    from services.trainer.batch_scoring.formats import STANDARD_STREAM

    files = [path for path in (wanted.file, wanted.output) if path != STANDARD_STREAM]
    if wanted.output == STANDARD_STREAM or not any(is_kept(data_dir, path) for path in files):
        return None
    return len(files) > 1 and keep_copy(data_dir, wanted.output, wanted.file)


def _find_model(reference: str, data_dir: Path | None) -> tuple[Path, bytes]:
    """The folder of a model and the secret it is signed with; a folder needs no database."""
    from services.trainer.evaluation.models import is_folder, registered_model
    from shared.privacy import load_secret

    if is_folder(reference):
        return Path(reference), load_secret(trainer_settings(data_dir))

    async def find(workplace: "Workplace") -> tuple[Path, bytes]:
        async with workplace.sessions() as session:
            found = await registered_model(
                session, reference, store=workplace.store, secret=workplace.secret
            )
        return found.folder, workplace.secret

    return at_workplace(data_dir, find)


def _extras(returns: str) -> tuple[str, ...]:
    names = [name.strip() for name in returns.split(",") if name.strip()]
    unknown = [name for name in names if name not in _EXTRAS]
    if unknown:
        raise InvalidInput(f"--return knows no {unknown[0]!r}; it knows {', '.join(_EXTRAS)}.")
    return tuple(dict.fromkeys(names))


def _weights(given: list[str]) -> tuple[tuple[str, float], ...]:
    parted = [one.partition("=") for one in given]
    try:
        found = TypeAdapter[dict[str, float]](Weights).validate_python(
            {name: value for name, _, value in parted}
        )
    except ValidationError:
        raise InvalidInput(
            "--weight takes an aspect and a number from -100 to 100, not all of them 0, as in "
            "`--weight overall=1 --weight accuracy=0.5`."
        ) from None
    return tuple(found.items())


@contextmanager
def _progress() -> Iterator["Tell"]:
    """Hears which chunks are done; a bar on standard error where that is a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} rows"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        speed_estimate_period=_SPEED_OVER_S,
    ) as bar:
        yield _Teller(bar)


class _Teller:
    """Counts rows for the bar; what an earlier attempt scored says nothing of the speed."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("loading the model", total=None, rows=0, speed="")
        self._phase = ""
        self._rows = self._known = 0
        self._began = 0.0

    def __call__(self, phase: str, span: "Span") -> None:
        if phase != self._phase:
            self._begin(phase, span)
        else:
            self._rows += span.rows
        elapsed_s = time.monotonic() - self._began
        new = self._rows - self._known
        speed = f"{new / elapsed_s:,.0f} rows/s" if new and elapsed_s > 0 else ""
        self._bar.update(self._task, completed=span.share, rows=self._rows, speed=speed)

    def _begin(self, phase: str, span: "Span") -> None:
        """A new bar, since the speed of writing is another one."""
        self._bar.remove_task(self._task)
        self._task = self._bar.add_task(phase, total=1.0, completed=0, rows=span.rows, speed="")
        self._phase, self._began = phase, time.monotonic()
        self._rows = self._known = span.rows


def _report(wanted: "Wanted", tally: "Tally", elapsed_s: float) -> None:
    from services.trainer.batch_scoring.formats import STANDARD_STREAM

    told = f"{tally.bad:,} of {tally.rows:,} rows have no score; their `error` says why"
    if wanted.output == STANDARD_STREAM:
        if tally.bad:
            fail(f"{told}.")
        return
    done("scored", f"{tally.rows - tally.bad:,} rows in {elapsed_s:,.1f} s")
    for number, error in tally.faults:
        fault(f"row {number:,}", error)
    if tally.bad:
        fault("bad rows", told)
    done("written", str(wanted.output))
