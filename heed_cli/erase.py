"""`heed erase ID | list | verify`: a person's rows from database and files, and the receipt."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperGroup

from heed_cli.services import DataDir
from heed_cli.terminal import cells, console, done, hint, note, working
from heed_cli.workplace import at_workplace
from shared.config import Settings, load_settings
from shared.contracts.values import PersonKind
from shared.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    from services.trainer.workplace import Workplace
    from shared.db.tables import Erasure

_POLL_S = 0.5


class _Group(TyperGroup):
    """Takes `heed erase 123` for `heed erase person 123`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments with the command that a bare id leaves out."""
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = ["person", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    help="Erase a person: `heed erase ID --kind rater|subject`.",
    cls=_Group,
    no_args_is_help=True,
)


@app.command()
def person(  # noqa: PLR0917 - the options people may give
    identity: Annotated[
        str, typer.Argument(metavar="ID", help="As your application sent it, or a pseudonym.")
    ],
    kind: Annotated[PersonKind, typer.Option(help="Who rated, or whom the texts are about.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    receipt: Annotated[
        Path | None, typer.Option(help="File of the receipt; `erasure-<id>.json` without it.")
    ] = None,
    project: Annotated[int, typer.Option(min=1, help="The project it was sent to.")] = 1,
    data_dir: DataDir = None,
) -> None:
    """Erase a person from database, snapshots and kept exports, and write the signed receipt."""
    from services.feedback_api.erasure import Person
    from shared.privacy import person_of

    async def erase(workplace: "Workplace") -> "Erasure":
        pseudonym = person_of(workplace.secret, project, kind, identity)
        meant = Person(project, kind, pseudonym)
        await _ask(workplace, meant, is_sure=yes)
        with working("erasing …"):
            return await _erase(workplace, meant)

    erasure = at_workplace(data_dir, erase)
    path = receipt or Path(f"erasure-{erasure.id}.json")
    path.write_text(json.dumps(erasure.receipt, indent=2) + "\n", encoding="utf-8")
    _tell(erasure, path)


@app.command("list")
def list_all(
    project: Annotated[int, typer.Option(min=1)] = 1,
    limit: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 20,
    data_dir: DataDir = None,
) -> None:
    """The newest erasures, and whether their files are done."""
    from services.feedback_api.erasure import list_erasures

    async def read(workplace: "Workplace") -> "Sequence[Erasure]":
        async with workplace.sessions() as session:
            return await list_erasures(session, project, limit, None)

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("erasure", "kind", "person", "asked", "finished", "models until"):
        table.add_column(heading)
    for erasure in at_workplace(data_dir, read):
        moments = (erasure.created_at, erasure.finished_at)
        asked, finished = (f"{when:%Y-%m-%d %H:%M}" if when else "" for when in moments)
        deadline = str(erasure.receipt.get("deadline") or "")[:10]
        named = (str(erasure.id), erasure.kind, erasure.person)
        table.add_row(*cells(*named, asked, finished, deadline))
    console.print(table)


@app.command()
def verify(
    receipt: Annotated[Path, typer.Argument(help="A receipt, or the API's reply with one.")],
    key: Annotated[
        str | None,
        typer.Option(help="Public key in base64; without, this deployment's own."),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Check that a receipt was signed by this deployment, or with a given key, and not changed."""
    from shared.privacy.signing import is_genuine

    try:
        said = json.loads(receipt.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{receipt} cannot be read ({type(error).__name__}).") from None
    said = said.get("receipt", said) if isinstance(said, dict) else {}
    if not is_genuine(said, key or _own_key(data_dir)):
        raise InvalidInput(
            f"{receipt} is not genuine: it was changed, is not finished, or was signed with "
            "another key."
        )
    done("genuine", f"erasure {said['erasure_id']}, finished {said['finished_at']}")


def read_promises(settings: Settings) -> list[str]:
    """What erasures of this deployment still promise, in words.

    Raises:
        HeedError: the database cannot be reached, or its schema is not current.
    """
    from sqlalchemy import select
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlmodel import col

    from heed_cli.database import with_session
    from shared.db.tables import Erasure
    from shared.lineage import tainted_live

    async def read(session: AsyncSession) -> list[str]:
        is_open = select(Erasure).where(col(Erasure.finished_at).is_(None))
        told = [
            f"{erasure.id}: its files are not done since {erasure.created_at:%Y-%m-%d %H:%M}"
            for erasure in await session.scalars(is_open.order_by(col(Erasure.id)))
        ]
        for live in await tainted_live(session):
            until = str(live.erasure.receipt["deadline"])[:10]
            model = f"{live.version.name} version {live.version.version} ({live.alias})"
            told.append(f"{model} learned from erased rows and is retired on {until}")
        return told

    return with_session(settings, read)


async def _ask(workplace: "Workplace", meant: Any, *, is_sure: bool) -> None:
    from services.feedback_api.erasure.holdings import find

    async with workplace.sessions() as session:
        held = await find(session, meant)
    rows = len(held.row_ids) + len(held.interactions)
    if not is_sure:
        what = f"Erase {rows} rows of {meant.kind} {meant.pseudonym} for good?"
        typer.confirm(what, abort=True)


async def _erase(workplace: "Workplace", meant: Any) -> "Erasure":
    """Database and files; a worker that is faster takes the files."""
    import asyncio

    from services.feedback_api.erasure import ErasurePolicy, erase_person, find_erasure
    from services.trainer.erasure_jobs import work_off_one
    from shared.db.audit import person_name

    policy = ErasurePolicy.of(workplace.settings)
    async with workplace.sessions.begin() as session:
        asked = await erase_person(session, meant, actor=person_name(), policy=policy)
    while True:
        async with workplace.sessions() as session:
            erasure = await find_erasure(session, meant.project_id, asked.erasure.id)
        if erasure.finished_at is not None:
            return erasure
        await _require_hope(workplace, erasure)
        if not await work_off_one(workplace):
            await asyncio.sleep(_POLL_S)


async def _require_hope(workplace: "Workplace", erasure: "Erasure") -> None:
    """Stop when an attempt has failed: the rows are gone, the files are tried again later."""
    from services.trainer.erasure_jobs import reason_of_failure

    reason = await reason_of_failure(workplace, erasure)
    if reason is not None:
        raise Conflict(
            f"The rows of erasure {erasure.id} are gone, but its files are not done: {reason} "
            "The worker tries again by itself; `heed erase list` shows when it is finished."
        )


def _own_key(data_dir: Path | None) -> str:
    from shared.privacy import load_secret
    from shared.privacy.signing import public_key

    given = {} if data_dir is None else {"data_dir": data_dir}
    settings = load_settings(Settings, **given)
    if settings.secret_key is None and not (settings.data_dir / "secret.key").exists():
        raise InvalidInput(f"{settings.data_dir} is no deployment; give the public key with --key.")
    return public_key(load_secret(settings))


def _tell(erasure: "Erasure", path: Path) -> None:
    said = erasure.receipt
    rows = ", ".join(f"{count} {table}" for table, count in said["rows"].items())
    done("erased", f"{erasure.kind} {erasure.person}: {rows}")
    for dataset in said["datasets"]:
        done("rewritten", f"dataset {dataset['id']}, {dataset['rows_removed']} rows fewer")
    for export in said["exports_removed"]:
        done("removed", f"export {export}")
    for model in said["models_tainted"]:
        note(
            "tainted", f"{model['name']} version {model['version']}, live until {said['deadline']}"
        )
    done("receipt", str(path))
    hint("Files written elsewhere (heed export, dataset prepare --output) are yours to delete.")
