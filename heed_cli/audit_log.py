"""`heed audit`."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from heed_cli.database import with_session
from heed_cli.deployment import Deployment
from heed_cli.services import DataDir
from heed_cli.terminal import say

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from shared.db.tables import AuditEntry

app = typer.Typer()


@app.command()
def audit(
    *,
    days: Annotated[float, typer.Option(min=0, help="How far back, in days.")] = 7,
    action: Annotated[str | None, typer.Option(help="Only this action: subject.erase, …")] = None,
    actor: Annotated[str | None, typer.Option(help="Only this key or person: key:0a1b…")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 1000,
    project: Annotated[int, typer.Option(min=1, help="The project.")] = 1,
    data_dir: DataDir = None,
) -> None:
    """Who read, exported, erased and promoted what, newest first, as JSON lines."""
    from services.feedback_api.queries import conditions, read_page
    from shared.db.tables import AuditEntry

    since = datetime.now(UTC) - timedelta(days=days)
    wanted = conditions(AuditEntry, project, {"action": action, "actor": actor, "since": since})

    async def read(session: "AsyncSession") -> "Sequence[AuditEntry]":
        return (await read_page(session, AuditEntry, wanted, cursor=None, limit=limit)).rows

    for entry in with_session(Deployment.of(data_dir).settings, read):
        say(json.dumps(entry.model_dump(mode="json", exclude={"id", "project_id"})))
