"""`heed models add | list | show | card | mistakes | export | promote | rollback`."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from heed_cli.add_model import add
from heed_cli.services import DataDir
from heed_cli.terminal import cells, console, done, note, say
from heed_cli.workplace import at_workplace

if TYPE_CHECKING:
    from services.trainer.workplace import Workplace
    from shared.db.tables import ModelVersion

app = typer.Typer(help="List, promote and roll back model versions.", no_args_is_help=True)
Name = Annotated[str, typer.Option(help="Name of the model.")]
Version = Annotated[str, typer.Argument(help="A number, an alias such as `champion`, or an id.")]
app.command("add")(add)
Reason = Annotated[str | None, typer.Option(help="Why; kept in the audit log.")]


@app.command("list")
def list_all(data_dir: DataDir = None) -> None:
    """Every model version, newest first, and which is live."""
    from shared.lineage import model_node, tainted
    from shared.registry import list_versions

    async def read(
        workplace: "Workplace",
    ) -> "tuple[list[tuple[ModelVersion, list[str]]], Collection[str]]":
        async with workplace.sessions() as session:
            return await list_versions(session), await tainted(session)

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("model", "version", "alias", "kind", "accuracy", "gate", "trained", "state"):
        table.add_column(heading)
    versions, nodes = at_workplace(data_dir, read)
    for version, aliases in versions:
        state = "retired" if version.retired_at else ""
        state = state or ("tainted" if model_node(version.id) in nodes else "")
        accuracy = version.metrics.get("pair_accuracy")
        row = cells(
            version.name,
            str(version.version),
            " ".join(aliases),
            version.kind,
            f"{accuracy:.3f}" if accuracy is not None else "",
            (version.gate or {}).get("verdict", ""),
            f"{version.created_at:%Y-%m-%d %H:%M}",
            Text(state, "yellow"),
        )
        table.add_row(*row)
    console.print(table)


@app.command()
def show(version: Version, name: Name = "reward", data_dir: DataDir = None) -> None:
    """One version: its metrics, its gate, its dataset and its folder."""
    from services.trainer.gates import explain

    found, folder = at_workplace(data_dir, lambda workplace: _read(workplace, version, name))
    done("model", f"{found.name} version {found.version} ({found.kind})")
    if found.gate:
        say(f"  gate: {explain(found.gate)}")
    say(f"  dataset {found.dataset_id}, run {found.run_id}\n  sha256 {found.sha256}\n  {folder}")
    say(json.dumps(found.metrics, indent=2, sort_keys=True))


@app.command()
def card(
    version: Version,
    name: Name = "reward",
    as_json: Annotated[bool, typer.Option("--json", help="The numbers behind it.")] = False,
    data_dir: DataDir = None,
) -> None:
    """The audit of a version: how far it can be trusted, never a text that people wrote."""
    from shared.contracts.audit import AUDIT_FILE, CARD_FILE
    from shared.ml.signed_files import read_signed
    from shared.registry import find_version

    async def read(workplace: "Workplace") -> bytes:
        async with workplace.sessions() as session:
            found = await find_version(session, version, name=name)
        file = AUDIT_FILE if as_json else CARD_FILE
        return read_signed(workplace.store.path(found.uri), file, secret=workplace.secret)

    say(at_workplace(data_dir, read).decode())


@app.command()
def mistakes(
    version: Version,
    limit: Annotated[int, typer.Option(min=1, help="How many, the worst first.")] = 5,
    name: Name = "reward",
    data_dir: DataDir = None,
) -> None:
    """The comparisons a version gets most wrong, with their texts; who reads them is recorded."""
    from services.trainer.audit.reading import mistakes_of

    read = at_workplace(data_dir, lambda workplace: mistakes_of(workplace, version, name, limit))
    if not read:
        done("mistakes", "none: it ranks every held-out comparison as people do")
    for one in read:
        note(f"{one.mistake.margin:+.3f}", " ".join(one.mistake.row_ids))
        if one.sides is None:
            say("    its texts are no longer there")
            continue
        chosen, rejected = one.sides
        prompts = {"prompt": chosen.prompt, "prompt of rejected": rejected.prompt}
        if chosen.prompt == rejected.prompt:
            del prompts["prompt of rejected"]
        texts = prompts | {"chosen": chosen.response, "rejected": rejected.response}
        for what, text in texts.items():  # as JSON: a text may hold what a terminal would obey
            say(f"    {what}: {json.dumps(text, ensure_ascii=False)}")


@app.command()
def export(
    version: Version,
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    name: Name = "reward",
    data_dir: DataDir = None,
) -> None:
    """Write a model that reads one embedding as a plain sentence-transformers folder."""
    from services.trainer.exports import export_sentence_transformers
    from shared.registry import find_version

    async def write(workplace: "Workplace") -> "ModelVersion":
        async with workplace.sessions() as session:
            found = await find_version(session, version, name=name)
        artifact = workplace.store.path(found.uri)
        export_sentence_transformers(artifact, folder, secret=workplace.secret)
        return found

    found = at_workplace(data_dir, write)
    done("exported", f"{found.name} version {found.version} to {folder}")


@app.command()
def promote(
    version: Version, name: Name = "reward", reason: Reason = None, data_dir: DataDir = None
) -> None:
    """Make a version live. One that the gate did not pass needs --reason."""
    from shared import registry
    from shared.db.audit import person_name

    async def move(workplace: "Workplace") -> "ModelVersion":
        async with workplace.sessions.begin() as session:
            found = await registry.find_version(session, version, name=name)
            workplace.store.path(found.uri)
            return await registry.promote(
                session, found.id, reason=reason, changed_by=person_name()
            )

    _tell_live(at_workplace(data_dir, move))


@app.command()
def rollback(name: Name = "reward", reason: Reason = None, data_dir: DataDir = None) -> None:
    """Make the version live that was live before the present one was promoted."""
    from shared import registry
    from shared.db.audit import person_name

    async def move(workplace: "Workplace") -> "ModelVersion":
        async with workplace.sessions.begin() as session:
            return await registry.rollback(session, name, reason=reason, changed_by=person_name())

    _tell_live(at_workplace(data_dir, move))


async def _read(workplace: "Workplace", version: str, name: str) -> "tuple[ModelVersion, str]":
    from shared.errors import ArtifactError
    from shared.registry import find_version

    async with workplace.sessions() as session:
        found = await find_version(session, version, name=name)
    try:
        return found, str(workplace.store.path(found.uri))
    except ArtifactError as error:
        note("artifact", error.detail)
        return found, found.uri


def _tell_live(version: "ModelVersion") -> None:
    done("live", f"{version.name} version {version.version}")
