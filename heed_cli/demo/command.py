"""`heed demo`: bring up a deployment of its own, run the loop, report, and stop it."""

import asyncio
import shlex
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from heed_cli.config import DeploymentSettings
from heed_cli.demo.folders import STAMP, STAY, mark_over, remove_old
from heed_cli.demo.telling import GATE_MARGIN
from heed_cli.deployment import (
    FEEDBACK_API,
    SERVICES,
    Deployment,
    bring_down,
    bring_up,
    missing_extra,
)
from heed_cli.terminal import done, note, say, title, working
from shared.config import load_settings
from shared.errors import ConfigError

if TYPE_CHECKING:
    from heed_cli.demo.report import Report

app = typer.Typer()
_FOLDER = Path(".heed-demo")
# The demo must not touch another deployment, whatever the environment says.
_NOTHING = {"HEED_DATABASE_URL": "", "HEED_ARTIFACT_DIR": "", "HEED_SECRET_KEY": ""}
# About 700 comparisons of 70 prompts are held out of the sample: too few to show 2 points.
_GATE = {"HEED_GATE": "not_worse", GATE_MARGIN: "0.04"}


@app.command()
def demo(
    data: Annotated[
        Path | None,
        typer.Option(
            help="Your own feedback: JSONL, CSV or Parquet with prompt, response and rating; "
            "prompt, chosen and rejected; or chosen and rejected dialogues."
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write what was measured here, as JSON.")
    ] = None,
    keep: Annotated[bool, typer.Option(help="Leave the services running afterwards.")] = False,
    data_dir: Annotated[
        Path, typer.Option(help=f"Folder for demos; each gets a new one, the newest {STAY} stay.")
    ] = _FOLDER,
) -> None:
    """Run the whole loop with real processes over real HTTP.

    Posts feedback, trains a reward model, gates and promotes it, re-ranks held-out responses, then
    learns from more feedback while a client keeps scoring. Your own deployment is not touched.
    """
    from heed_cli.demo.posts import own_batches, sample_batches

    _require_extras()
    if report is not None:
        _require_writable(report)
    began = time.monotonic()
    batches = own_batches(data) if data else sample_batches()
    title("heed demo", batches.source)
    if batches.left_out:
        note("left out", f"{batches.left_out} rows that compare nothing (equal, empty, unrelated)")
    remove_old(data_dir)
    deployment = _deployment(data_dir)
    with _running(deployment, keep=keep), working("starting …") as show:
        from heed_cli.demo.loop import run_loop

        _bring_up(deployment)
        found = asyncio.run(run_loop(deployment, batches, show, began))
    if report is not None:
        found.write(report)
    found.show()
    _print_next_steps(found, deployment, keep=keep)


def _require_extras() -> None:
    extras = sorted({extra for extra in map(missing_extra, SERVICES) if extra})
    if extras:
        raise ConfigError('The demo runs every service: run `pip install "heed-rlhf[all]"`.')


def _require_writable(report: Path) -> None:
    """Before the demo, not after it."""
    try:
        report.touch()
    except OSError as error:
        raise ConfigError(f"The report {report} cannot be written: {error.strerror}.") from None


def _deployment(data_dir: Path) -> Deployment:
    """A new folder and free ports, so that the demo meets neither itself nor anybody else."""
    folder = data_dir / f"{datetime.now():{STAMP}}"  # noqa: DTZ005 - a name for people
    settings = load_settings(
        DeploymentSettings,
        data_dir=folder,
        database_url=None,
        artifact_dir=None,
        artifact_url=None,
        secret_key=None,
        feedback_host="127.0.0.1",
        reward_host="127.0.0.1",
        **free_ports(),
    )
    return Deployment(settings, {**_NOTHING, **_GATE})


def free_ports() -> dict[str, int]:
    """Two ports that nobody listens on; both are held until both are known."""
    with socket.socket() as one, socket.socket() as other:
        for probe in (one, other):
            probe.bind(("127.0.0.1", 0))
        return {"feedback_port": one.getsockname()[1], "reward_port": other.getsockname()[1]}


def _bring_up(deployment: Deployment) -> None:
    steps = {step.name: step.text for step in bring_up(deployment)}
    done("up", f"Postgres {steps['postgres']}; {', '.join(SERVICES)} on free ports")


@contextmanager
def _running(deployment: Deployment, *, keep: bool) -> Iterator[None]:
    """Stop everything afterwards, also after an error, Ctrl-C or SIGTERM."""
    before = signal.signal(signal.SIGTERM, _leave)
    is_finished = False
    try:
        yield
        is_finished = True
    finally:
        signal.signal(signal.SIGTERM, before)
        if not (keep and is_finished):
            with working("stopping …"):
                list(bring_down(deployment))
            mark_over(deployment.settings.data_dir)


def _leave(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _print_next_steps(report: "Report", deployment: Deployment, *, keep: bool) -> None:
    folder = shlex.quote(str(deployment.settings.data_dir))
    say(f"  Card      {report.card}")
    say(f"  Plots     {', '.join(Path(plot).name for plot in report.plots)} beside it")
    if keep:
        say(f"  Running   {deployment.url(FEEDBACK_API)} · heed down --data-dir {folder}")
    say(f"  Go on     heed up --data-dir {folder} · heed models list · docs/quickstart.md")
    say(f"  Took      {report.seconds:.0f} s")
