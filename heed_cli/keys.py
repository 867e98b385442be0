"""`heed keys create | list | rotate | revoke`."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.table import Table
from rich.text import Text

from heed_cli.deployment import Deployment
from heed_cli.services import DataDir
from heed_cli.terminal import cells, console, done, hint, say
from shared.db.audit import person_name

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

T = TypeVar("T")
MAX_OVERLAP_H = 7 * 24.0
app = typer.Typer(help="Create, list, rotate and revoke API keys.", no_args_is_help=True)
Project = Annotated[int, typer.Option(min=1, help="The project the key belongs to.")]
PublicId = Annotated[str, typer.Argument(help="The part between the two underscores of a key.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Who uses it, such as `web-app`.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="What it may do; repeat it. Without: feedback:write and score."),
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Days until it expires.")] = None,
    project: Project = 1,
    data_dir: DataDir = None,
) -> None:
    """Make a key and show it once."""
    from shared.keys import Scope, create_key

    scopes = scope or [Scope.FEEDBACK_WRITE, Scope.SCORE]
    expires_at = datetime.now(UTC) + timedelta(days=days) if days else None
    token = _run(
        data_dir,
        lambda session: create_key(
            session,
            name=name,
            scopes=scopes,
            project_id=project,
            expires_at=expires_at,
            made_by=person_name(),
        ),
    )
    _show(token)


@app.command("list")
def list_all(project: Project = 1, data_dir: DataDir = None) -> None:
    """The keys of a project; their secrets are not stored and so not shown."""
    from shared.keys import list_keys

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("id", "name", "scopes", "made", "state"):
        table.add_column(heading)
    for key in _run(data_dir, lambda session: list_keys(session, project_id=project)):
        state = _state(key.revoked_at, key.expires_at)
        made = f"{key.created_at:%Y-%m-%d}"
        table.add_row(*cells(key.public_id, key.name, " ".join(key.scopes), made, state))
    console.print(table)


@app.command()
def rotate(
    public_id: PublicId,
    overlap_h: Annotated[
        float, typer.Option(min=0, max=MAX_OVERLAP_H, help="Hours the old key goes on; 0: none.")
    ] = 0.0,
    project: Project = 1,
    data_dir: DataDir = None,
) -> None:
    """Replace a key by a new one of the same rights; the old one ends at once or soon."""
    from shared.keys import rotate_key

    _show(
        _run(
            data_dir,
            lambda session: rotate_key(
                session,
                public_id,
                project_id=project,
                overlap=timedelta(hours=overlap_h),
                rotated_by=person_name(),
            ),
        )
    )


@app.command()
def revoke(public_id: PublicId, project: Project = 1, data_dir: DataDir = None) -> None:
    """End a key at once, everywhere."""
    from shared.keys import revoke_key

    _run(
        data_dir,
        lambda session: revoke_key(
            session, public_id, project_id=project, revoked_by=person_name()
        ),
    )
    done(public_id, "revoked")


def _run(data_dir: Path | None, work: "Callable[[AsyncSession], Awaitable[T]]") -> T:
    from heed_cli.database import with_session

    return with_session(Deployment.of(data_dir).settings, work)


def _show(token: str) -> None:
    say(token)
    hint("Shown once; only its hash is stored.")


def _state(revoked_at: datetime | None, expires_at: datetime | None) -> Text:
    if revoked_at is not None:
        return Text("revoked", "red")
    if expires_at is None:
        return Text("valid", "green")
    word = "expired" if expires_at <= datetime.now(UTC) else "valid until"
    return Text(f"{word} {expires_at:%Y-%m-%d}")
