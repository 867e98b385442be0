"""`heed webhooks add | list | remove | enable | disable | rotate | test | replay | deliveries`."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar
from uuid import UUID

import typer
from rich.table import Table
from rich.text import Text

from heed_cli.deployment import Deployment
from heed_cli.services import DataDir
from heed_cli.terminal import cells, console, done, hint, say
from shared.db.audit import person_name
from shared.errors import InvalidInput

if TYPE_CHECKING:
    from services.feedback_api.webhooks.subscriptions import Keeper

T = TypeVar("T")
MAX_OVERLAP_H = 7 * 24.0
app = typer.Typer(help="Tell other systems what happens.", no_args_is_help=True)
Project = Annotated[int, typer.Option(min=1, help="The project the webhook belongs to.")]
WebhookId = Annotated[UUID, typer.Argument(help="As `heed webhooks list` shows it.")]
_COLOURS = {"succeeded": "green", "failed": "red", "cancelled": "dim"}


@app.command()
def add(
    url: Annotated[str, typer.Argument(help="Where to deliver; https, unless allowed.")],
    event: Annotated[
        list[str] | None,
        typer.Option(help="What to tell, such as feedback.created; repeat it. Without: all."),
    ] = None,
    project: Project = 1,
    data_dir: DataDir = None,
) -> None:
    """Add a webhook and show its secret once."""
    webhook, secret = _run(data_dir, project, lambda keeper: keeper.add(url, event or []))
    done("webhook", str(webhook.id))
    _show(secret)


@app.command("list")
def list_all(project: Project = 1, data_dir: DataDir = None) -> None:
    """The webhooks of a project."""
    table = _table("id", "url", "events", "state")
    for webhook in _run(data_dir, project, lambda keeper: keeper.all()):
        state = Text("on", "green") if webhook.enabled else Text("off", "red")
        events = " ".join(webhook.events) or "all"
        table.add_row(*cells(str(webhook.id), webhook.url, events, state))
    console.print(table)


@app.command()
def remove(webhook: WebhookId, project: Project = 1, data_dir: DataDir = None) -> None:
    """Remove a webhook; what waits for it is cancelled."""
    _run(data_dir, project, lambda keeper: keeper.remove(webhook))
    done(str(webhook), "removed")


@app.command()
def enable(webhook: WebhookId, project: Project = 1, data_dir: DataDir = None) -> None:
    """Switch a webhook on again."""
    _run(data_dir, project, lambda keeper: keeper.enable(webhook, True))
    done(str(webhook), "on")


@app.command()
def disable(webhook: WebhookId, project: Project = 1, data_dir: DataDir = None) -> None:
    """Switch a webhook off; nothing new is kept for it meanwhile."""
    _run(data_dir, project, lambda keeper: keeper.enable(webhook, False))
    done(str(webhook), "off")


@app.command()
def rotate(
    webhook: WebhookId,
    overlap_h: Annotated[
        float, typer.Option(min=0, max=MAX_OVERLAP_H, help="Hours the old secret signs too.")
    ] = 24.0,
    project: Project = 1,
    data_dir: DataDir = None,
) -> None:
    """Replace a webhook's secret and show the new one once."""
    _, secret = _run(data_dir, project, lambda keeper: keeper.rotate(webhook, overlap_h * 3600))
    _show(secret)


@app.command("test")
def send_test(webhook: WebhookId, project: Project = 1, data_dir: DataDir = None) -> None:
    """Send a test; the feedback API delivers it in a moment."""
    _run(data_dir, project, lambda keeper: keeper.test(webhook, datetime.now(UTC)))
    done("waits", f"`heed webhooks deliveries {webhook}` shows how it goes")


@app.command()
def replay(
    webhook: WebhookId,
    delivery: Annotated[UUID | None, typer.Option(help="One delivery.")] = None,
    since: Annotated[
        datetime | None, typer.Option(help="All deliveries made since this time, UTC.")
    ] = None,
    project: Project = 1,
    data_dir: DataDir = None,
) -> None:
    """Send one delivery again, or all since a time, under the ids they had."""
    moment = since.replace(tzinfo=UTC) if since else None
    if (delivery is None) == (moment is None):
        raise InvalidInput("Give either --delivery or --since.")
    count = _run(data_dir, project, lambda keeper: keeper.replay(webhook, delivery, moment))
    done("waiting", f"{count} deliveries")


@app.command()
def deliveries(
    webhook: WebhookId,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    project: Project = 1,
    data_dir: DataDir = None,
) -> None:
    """The newest deliveries of a webhook and how they went."""
    jobs = _run(data_dir, project, lambda keeper: keeper.deliveries(webhook, limit))
    table = _table("delivery", "type", "made", "state", "attempts", "status")
    for job in jobs:
        state = Text(job.status, _COLOURS.get(job.status, ""))
        made, last = f"{job.created_at:%Y-%m-%d %H:%M:%S}", job.progress.get("status") or ""
        row = (str(job.id), job.params["type"], made, state, str(job.attempt), str(last))
        table.add_row(*cells(*row))
    console.print(table)


def _run(data_dir: Path | None, project: int, work: "Callable[[Keeper], Awaitable[T]]") -> T:
    from heed_cli.database import with_session
    from services.feedback_api.webhooks.addresses import Allowed
    from services.feedback_api.webhooks.subscriptions import Keeper
    from shared.privacy import load_secret

    settings = Deployment.of(data_dir).settings
    secret, allowed = load_secret(settings), Allowed.of(settings.webhook_allow)
    return with_session(
        settings, lambda session: work(Keeper(session, secret, allowed, person_name(), project))
    )


def _show(secret: str) -> None:
    say(secret)
    hint("Shown once; give it to the receiver, which checks signatures with it.")


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table
