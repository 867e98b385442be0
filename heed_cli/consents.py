"""`heed consents give | withdraw | show`."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from heed_cli.database import with_session
from heed_cli.deployment import Deployment
from heed_cli.services import DataDir
from heed_cli.terminal import cells, console, done
from shared.contracts.values import PersonKind
from shared.db.audit import person_name
from shared.privacy import load_secret, person_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

app = typer.Typer(help="Record what a person allows, purpose by purpose.", no_args_is_help=True)
Person = Annotated[str, typer.Argument(help="The id as your application sends it, or a pseudonym.")]
Kind = Annotated[PersonKind, typer.Option(help="Who rated, or whom the text is about.")]
Purpose = Annotated[str, typer.Option(help="What for; training is what Heed itself asks about.")]
Project = Annotated[int, typer.Option(min=1, help="The project the person is known in.")]


@app.command()
def give(
    person: Person,
    kind: Kind,
    purpose: Purpose = "training",
    project: Project = 1,
    data_dir: DataDir = None,
) -> None:
    """Allow a purpose from now on; rows that say no themselves stay out."""
    _record(Deployment.of(data_dir), person, kind, purpose, project=project, granted=True)


@app.command()
def withdraw(
    person: Person,
    kind: Kind,
    purpose: Purpose = "training",
    project: Project = 1,
    data_dir: DataDir = None,
) -> None:
    """Take consent back: the person's rows enter no dataset that is frozen from now on."""
    _record(Deployment.of(data_dir), person, kind, purpose, project=project, granted=False)


@app.command()
def show(person: Person, kind: Kind, project: Project = 1, data_dir: DataDir = None) -> None:
    """What the person said, newest first."""
    from services.feedback_api.consents import read_consents

    settings = Deployment.of(data_dir).settings
    known_as = person_of(load_secret(settings), project, kind, person)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("purpose", "allowed", "said"):
        table.add_column(heading)
    for word in with_session(
        settings, lambda session: read_consents(session, project, kind, known_as)
    ):
        allowed = "yes" if word.granted else "no"
        table.add_row(*cells(word.purpose, allowed, f"{word.created_at:%Y-%m-%d %H:%M}"))
    console.print(table)


def _record(
    deployment: Deployment,
    person: str,
    kind: PersonKind,
    purpose: str,
    *,
    project: int,
    granted: bool,
) -> None:
    from services.feedback_api.consents import record_consent

    known_as = person_of(load_secret(deployment.settings), project, kind, person)

    async def record(session: "AsyncSession") -> None:
        await record_consent(
            session,
            project_id=project,
            kind=kind,
            person=known_as,
            said={purpose: granted},
            actor=person_name(),
        )

    with_session(deployment.settings, record)
    done(known_as, f"{purpose} is {'allowed' if granted else 'withdrawn'}")
