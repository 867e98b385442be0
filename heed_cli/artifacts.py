"""`heed artifacts check | upload | download`: move datasets and models between stores."""

from pathlib import Path
from typing import Annotated

import typer

from heed_cli.deployment import Deployment
from heed_cli.services import DataDir
from heed_cli.stored import fetch_all, missing_artifacts, send_all
from heed_cli.terminal import done, fault, say, working
from shared.artifacts import open_store
from shared.db.connect import database
from shared.errors import ConfigError, NotFound

app = typer.Typer(
    help="Check datasets and models, and move them to a bucket or back.", no_args_is_help=True
)


@app.command()
def check(data_dir: DataDir = None) -> None:
    """Whether the store has every dataset and model that the database names. Status 1 if not."""
    settings = Deployment.of(data_dir).settings
    store = open_store(settings)
    with working("looking …"), database(settings) as url:
        missing = missing_artifacts(url, store)
    for uri in missing:
        fault("missing", uri)
    if missing:
        raise typer.Exit(1)
    done("artifacts", f"{store.place} has all that the database names")


@app.command()
def upload(
    folder: Annotated[
        Path | None,
        typer.Argument(help="A folder of artifacts; HEED_ARTIFACT_DIR when not given."),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Store what lies in a folder in the bucket. After a break, call it again."""
    settings = Deployment.of(data_dir).settings
    source = folder or settings.artifacts
    if settings.artifact_url is None:
        raise ConfigError("There is no bucket to upload to: set HEED_ARTIFACT_URL.")
    if not source.is_dir():
        raise NotFound(f"There is no folder {source}.")
    with working("uploading …"):
        count = send_all(source, open_store(settings))
    done("uploaded", f"{count} artifacts of {source} to {settings.artifact_url}")
    say(f"    Once `heed artifacts check` finds all of them, {source} may go.")


@app.command()
def download(
    folder: Annotated[Path, typer.Argument(help="A folder, which HEED_ARTIFACT_DIR may name.")],
    data_dir: DataDir = None,
) -> None:
    """Copy all that the database names into a folder, from wherever it lies."""
    settings = Deployment.of(data_dir).settings
    with working("downloading …"), database(settings) as url:
        count = fetch_all(url, open_store(settings), folder)
    done("downloaded", f"{count} artifacts to {folder}")
