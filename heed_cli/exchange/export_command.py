"""`heed export FORMAT [FILE]`."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from heed_cli.deployment import Deployment
from heed_cli.exchange.choosing import Selection
from heed_cli.exchange.formats import FORMATS, Format, find_format
from heed_cli.kept_files import say_whose
from heed_cli.services import DataDir
from heed_cli.terminal import done, title, working
from shared.config import Settings
from shared.errors import InvalidInput
from shared.exports import exports_folder

app = typer.Typer()
_LISTED = "; ".join(f"{known.name}: {known.about}" for known in FORMATS.values())
_MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]


@app.command()
def export(  # noqa: PLR0913, PLR0917 - each is an option of the command
    format_name: Annotated[str, typer.Argument(metavar="FORMAT", help=_LISTED + ".")],
    file: Annotated[
        Path | None,
        typer.Argument(help="Its name says how: .jsonl, .json, .csv, .tsv or .parquet, with .gz."),
    ] = None,
    task: Annotated[str | None, typer.Option(help="Only rows of this task type.")] = None,
    agent: Annotated[str | None, typer.Option(help="Only rows of this agent.")] = None,
    source: Annotated[str | None, typer.Option(help="Only rows of this import.")] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=_MOMENTS, help="Only rows stored since then, UTC unless said."),
    ] = None,
    consented_only: Annotated[
        bool,
        typer.Option(
            "--consented-only/--all-rows",
            help="Leave out what may not be trained on; formats for training always do.",
        ),
    ] = True,
    conversational: Annotated[
        bool, typer.Option("--conversational/--plain", help="TRL: messages instead of texts.")
    ] = False,
    project: Annotated[int, typer.Option(min=1, help="The project whose rows are written.")] = 1,
    data_dir: DataDir = None,
) -> None:
    """Write feedback as another tool reads it.

    Without FILE it goes into `exports` in the data dir, where an erasure finds and removes it. A
    file elsewhere is yours: nobody removes it when a person in it is erased.
    """
    known = find_format(format_name)
    settings = Deployment.of(data_dir).settings
    wanted = Selection(project, consented_only, task, agent, source, _in_utc(since))
    _require_consent(known, wanted)
    path = file or _default_path(known, settings)
    title("heed export", f"{known.name} to {path}")
    began = time.monotonic()
    rows = _write(known, wanted, path, settings, conversational=conversational)
    done("rows", f"{rows:,} in {time.monotonic() - began:.1f} s")
    done("written", str(path))
    say_whose(settings.data_dir, path)


def _write(
    known: Format, wanted: Selection, path: Path, settings: Settings, *, conversational: bool
) -> int:
    from heed_cli.exchange.exporting import Export, export_rows
    from shared.db import migrate
    from shared.db.connect import database
    from shared.db.engine import create_engine, create_sessions
    from shared.db.faults import reaching_database
    from shared.privacy.fields import open_cipher

    writer = known.converse if conversational else known.write
    if writer is None:
        raise InvalidInput(f"{known.name} knows no conversations: leave out --conversational.")

    async def run(url: str) -> int:
        engine = create_engine(url)
        try:
            with reaching_database():
                await migrate.require_current(engine)
                sessions = create_sessions(engine)
                export = Export(known, writer, wanted, path, settings.data_dir)
                return await export_rows(sessions, open_cipher(settings, sessions), export, show)
        finally:
            await engine.dispose()

    with working("reading …") as tell, database(settings) as url:

        def show(rows: int) -> None:
            if rows % 1000 == 0:
                tell(f"{rows:,} rows")

        return asyncio.run(run(url))


def _require_consent(known: Format, wanted: Selection) -> None:
    if known.is_for_training and not wanted.is_consented:
        raise InvalidInput(
            f"{known.name} is a format for training, which never holds rows without consent: leave "
            "out --all-rows."
        )


def _default_path(known: Format, settings: Settings) -> Path:
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    return exports_folder(settings.data_dir) / f"{known.name}-{stamp}{known.suffix}"


def _in_utc(moment: datetime | None) -> datetime | None:
    if moment is None or moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=UTC)
