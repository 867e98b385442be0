"""`heed import FORMAT FILE`."""

import asyncio
import os
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from heed_cli.deployment import FEEDBACK_API, Deployment
from heed_cli.exchange.checking import Checker
from heed_cli.exchange.formats import FORMATS, find_format
from heed_cli.exchange.importing import Source, import_file
from heed_cli.exchange.posts import Origin
from heed_cli.exchange.reading import Watch
from heed_cli.exchange.resuming import Attempt, Tally
from heed_cli.exchange.sending import Sender
from heed_cli.services import DataDir
from heed_cli.terminal import console, done, fault, note, title
from shared.errors import ConfigError, InvalidInput
from shared.folders import make_private

app = typer.Typer()
_LISTED = "; ".join(f"{known.name}: {known.about}" for known in FORMATS.values())


@app.command("import")
def import_(  # noqa: PLR0913, PLR0917 - each is an option of the command
    format_name: Annotated[str, typer.Argument(metavar="FORMAT", help=_LISTED + ".")],
    file: Annotated[
        Path, typer.Argument(help="JSON, JSON Lines, CSV or Parquet; .gz is read too.")
    ],
    source: Annotated[
        str | None,
        typer.Option(help="What the rows are known by; the file's name when not given."),
    ] = None,
    consent: Annotated[
        bool | None,
        typer.Option(
            "--consent/--no-consent",
            help="Whether the rows may be trained on; the deployment decides when not given.",
        ),
    ] = None,
    task: Annotated[str | None, typer.Option(help="Give every row this task type.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every row and send nothing.")
    ] = False,
    errors: Annotated[
        Path | None, typer.Option(help="List refused rows here; FILE.errors.jsonl when not given.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="A feedback API elsewhere; this deployment's when not given.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            envvar="HEED_API_KEY",
            help="Its project is where the rows go; the development key when not given.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Import feedback that another tool wrote.

    Rows go over HTTP like every post, so masking, encryption and consent hold for them too.
    Stopped or run twice, the same command stores nothing twice and goes on where it was.

    Exit status 1 when rows were refused; they are listed with what to do about each.
    """
    known = find_format(format_name)
    _require_readable(file)
    deployment = Deployment.of(data_dir)
    origin = Origin(known.name, source or file.name, consent, task, known.has_local_raters)
    whereto = "nowhere" if dry_run else url or str(deployment.url(FEEDBACK_API))
    listed = _errors_path(errors, file, deployment)
    attempt = Attempt.of(listed, _what(file, origin, whereto, key))
    sender = Checker() if dry_run else Sender(whereto, _key(deployment, url, key))
    title("heed import", f"{known.name} from {file}" + (", dry run" if dry_run else ""))
    if attempt.settled_to:
        note("going on", f"behind row {attempt.settled_to}, where an earlier attempt stopped")
    began = time.monotonic()
    try:
        tally = asyncio.run(_import(Source(file, known, origin, Watch()), sender, attempt))
    except KeyboardInterrupt:
        note("stopped", "the same command goes on from here")
        raise typer.Exit(130) from None
    attempt.forget()
    _summarise(tally, time.monotonic() - began, listed, is_dry=dry_run)
    raise typer.Exit(1 if tally.refused else 0)


async def _import(source: Source, sender: Sender | Checker, attempt: Attempt) -> Tally:
    columns = (
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} rows"),
        TextColumn("{task.fields[speed]:,.0f}/s", style="dim"),
        TimeElapsedColumn(),
    )
    began, before = time.monotonic(), attempt.tally.rows
    is_shown = console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not is_shown) as bar:
        task = bar.add_task("import", total=1.0, rows=0, speed=0.0)

        def show(tally: Tally) -> None:
            speed = (tally.rows - before) / max(time.monotonic() - began, 0.001)
            bar.update(task, completed=source.watch.share, rows=tally.rows, speed=speed)

        async with sender:
            await sender.require_welcome()
            return await import_file(source, sender, attempt, show)


def _require_readable(file: Path) -> None:
    try:
        with file.open("rb"):
            return
    except IsADirectoryError:
        raise InvalidInput(f"{file} is a folder: name one file.") from None
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}.") from None


def _what(file: Path, origin: Origin, whereto: str, key: str | None) -> dict[str, object]:
    """What must be the same for an import to go on behind where an earlier one stopped."""
    stat = file.stat()
    project = (key or "").split("_")[1:2]
    content = [stat.st_size, stat.st_mtime_ns]
    named = [origin.format, origin.source, origin.consent, origin.task]
    return {"file": content, "origin": named, "to": whereto, "key": project}


def _key(deployment: Deployment, url: str | None, key: str | None) -> str:
    if key:
        if not key.isascii():
            raise InvalidInput("The key holds letters that no key has: copy it again.")
        return key.strip()
    if url is None and deployment.key_file.exists():
        return deployment.key_file.read_text().strip()
    if url is None:
        raise ConfigError(
            f"There is no key in {deployment.settings.data_dir}: start one with `heed up`, "
            "or give the key of another deployment as HEED_API_KEY."
        )
    raise ConfigError(f"Give a key of {url} as HEED_API_KEY; `heed keys create` makes one there.")


def _errors_path(errors: Path | None, file: Path, deployment: Deployment) -> Path:
    """Beside the file, or in the data dir when nobody may write there."""
    if errors is not None:
        return errors
    name = f"{file.name}.errors.jsonl"
    if os.access(file.parent, os.W_OK):
        return file.with_name(name)
    folder = deployment.settings.data_dir / "imports"
    make_private(folder)
    return folder / name


def _summarise(tally: Tally, seconds: float, listed: Path, *, is_dry: bool) -> None:
    verb = "would be stored" if is_dry else "stored"
    done("rows read", f"{tally.rows:,} in {seconds:.1f} s")
    done(verb, f"{tally.stored:,} as {tally.posts:,} posts")
    if tally.repeated:
        note("repeated", f"{tally.repeated:,}; they were stored before")
    if tally.refused:
        fault("refused", f"{tally.refused:,}; see {listed}")
