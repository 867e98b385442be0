"""`heed dataset prepare | list | show | check`."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from heed_cli.kept_files import count_erasures, putting_in_place, say_whose
from heed_cli.services import DataDir
from heed_cli.terminal import cells, console, done, fault, note, say
from heed_cli.workplace import at_workplace, trainer_settings

if TYPE_CHECKING:
    from services.trainer.leakage import Leaks, Quality
    from services.trainer.snapshots import Freezing
    from services.trainer.workplace import Workplace
    from shared.db.tables import Dataset

app = typer.Typer(help="Freeze feedback into datasets.", no_args_is_help=True)

TestAfter = Annotated[
    datetime | None, typer.Option(help="Hold out what is newer (UTC) instead of a random share.")
]
TestNewest = Annotated[
    float | None, typer.Option(min=0.01, max=0.99, help="The same for about this newest share.")
]


@app.command()
def prepare(
    *,
    output: Annotated[
        Path | None, typer.Option(help="Also write the comparisons to this JSON Lines file.")
    ] = None,
    min_pairs: Annotated[int, typer.Option(min=0, help="Refuse with fewer comparisons.")] = 1,
    name: Annotated[str, typer.Option(help="What the dataset is for.")] = "feedback",
    feedback_db: Annotated[
        str | None, typer.Option(help="Database to read; without: this deployment's.")
    ] = None,
    test_after: TestAfter = None,
    test_newest: TestNewest = None,
    data_dir: DataDir = None,
) -> None:
    """Freeze everything that may be trained on into a dataset."""
    from services.trainer.placing import Splitting
    from shared.db.audit import person_name

    async def freeze(workplace: "Workplace") -> "Dataset":
        splitting = Splitting(
            workplace.settings.test_share, test_after=in_utc(test_after), test_newest=test_newest
        )
        freezing = workplace.freezing(person_name(), min_pairs=min_pairs, splitting=splitting)
        return await _prepare(workplace, freezing, output, name)

    dataset = at_workplace(data_dir, freeze, database_url=feedback_db)
    done("dataset", f"{dataset.id}, {dataset.rows} rows, sha256 {dataset.sha256[:16]}…")
    _show_counts(dataset)
    if output is not None:
        done("written", str(output))
        say_whose(trainer_settings(data_dir).data_dir, output)


@app.command("list")
def list_all(data_dir: DataDir = None) -> None:
    """Every frozen dataset, newest first."""
    from services.trainer.queries import list_datasets

    async def read(workplace: "Workplace") -> "list[Dataset]":
        async with workplace.sessions() as session:
            return await list_datasets(session)

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("id", "name", "rows", "train pairs", "test pairs", "frozen", "sha256"):
        table.add_column(heading)
    for dataset in at_workplace(data_dir, read):
        pairs = (str(dataset.counts.get(f"pairs_{side}", 0)) for side in ("train", "test"))
        when = f"{dataset.created_at:%Y-%m-%d %H:%M}"
        named = (str(dataset.id), dataset.name, str(dataset.rows))
        table.add_row(*cells(*named, *pairs, when, dataset.sha256[:16]))
    console.print(table)


@app.command()
def show(
    dataset_id: Annotated[int, typer.Argument(help="As `heed dataset list` shows it.")],
    data_dir: DataDir = None,
) -> None:
    """What one dataset holds, and where its file is."""
    from services.trainer.queries import find_dataset

    async def read(workplace: "Workplace") -> "tuple[Dataset, Path]":
        async with workplace.sessions() as session:
            found = await find_dataset(session, dataset_id)
        return found, workplace.store.path(found.uri)

    dataset, path = at_workplace(data_dir, read)
    done("dataset", f"{dataset.id} {dataset.name}, {dataset.rows} rows")
    _show_counts(dataset)
    say(f"  sha256 {dataset.sha256}\n  {path}")


@app.command()
def check(
    dataset_id: Annotated[int, typer.Argument(help="As `heed dataset list` shows it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Held-out rows that are trained on, contradictions and repeats; exits with 1 on a leak."""
    from services.trainer.leakage import examine, report
    from services.trainer.queries import find_dataset
    from services.trainer.snapshots import load_dataset

    async def read(workplace: "Workplace") -> "tuple[Leaks, Quality, Dataset]":
        async with workplace.sessions() as session:
            found = await find_dataset(session, dataset_id)
        return *examine(load_dataset(found, workplace.store)), found

    leaks, quality, dataset = at_workplace(data_dir, read)
    if as_json:
        say(json.dumps(report(leaks, quality) | {"split": dataset.filters.get("split")}, indent=2))
    else:
        _show_check(leaks, quality, dataset)
    if leaks:
        raise typer.Exit(1)


def in_utc(moment: datetime | None) -> datetime | None:
    """A time that was typed, which is meant in UTC unless it says otherwise."""
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


async def _prepare(
    workplace: "Workplace", freezing: "Freezing", output: Path | None, name: str
) -> "Dataset":
    from services.trainer.prepare import export_preferences
    from services.trainer.snapshots import freeze_feedback, load_dataset
    from shared.exports import is_kept, keep_export
    from shared.lineage import members_of

    data_dir, project_id = workplace.settings.data_dir, workplace.store.project_id
    async with workplace.sessions.begin() as session:
        erasures = await count_erasures(session, project_id)
        dataset = await freeze_feedback(session, freezing, name=name)
    if output is not None:
        async with workplace.sessions() as session:
            members = await members_of(session, dataset.id) if is_kept(data_dir, output) else []
        async with putting_in_place(
            workplace.sessions, data_dir, project_id=project_id, erasures=erasures
        ):
            if members:
                keep_export(data_dir, output, members)
            export_preferences(load_dataset(dataset, workplace.store), output)
    return dataset


def _show_counts(dataset: "Dataset") -> None:
    counts = dataset.counts
    kinds = ["pairs", "rated", "aspects", "ties", "rankings", "steps", "groups"]
    if counts.get("prompts_train") or counts.get("prompts_test"):  # nobody judged these
        kinds.insert(-1, "prompts")
    for what in kinds:
        aside = f", {counts[f'{what}_aside']} aside" if f"{what}_aside" in counts else ""
        held_out = counts[f"{what}_test"]
        say(f"    {what:<8} {counts[f'{what}_train']} train, {held_out} held out{aside}")
    say(f"    {counts['contradictions']} contradicting comparisons")
    if left_out := dataset.filters.get("left_out"):
        say(f"    {left_out} lines of the file left out: posts that they came from are gone")
    split = dataset.filters.get("split", {})
    if split.get("near_duplicates"):
        together, prompts = split["near_duplicates"], split["prompts"]
        say(f"    {together} of {prompts} prompts are near-duplicates of another, on its side")


_WHAT: dict[str, str] = {
    "prompts": "held-out prompts that are trained on",
    "near_prompts": "held-out prompts with a near-duplicate that is trained on",
    "rows": "feedback rows on both sides",
    "near_copies": "held-out comparisons near-copied under another prompt",
    "recorded": "recorded prompts with a near-duplicate on the other side",
    "responses": "held-out responses that are trained on",
    "near_responses": "held-out responses with a near-duplicate that is trained on",
    "contradictions": "judgements that others contradict",
    "repeated": "judgements that were there before",
}


def _show_check(leaks: "Leaks", quality: "Quality", dataset: "Dataset") -> None:
    for found, tell in ((leaks, fault), (quality, note)):
        for name, finding in vars(found).items():
            if finding.count:
                rows = ", ".join(finding.row_ids[:5])
                tell(str(finding.count), f"{_WHAT[name]}; rows {rows}")
    if not leaks:
        done("clean", f"nothing held out in dataset {dataset.id} is trained on")
    elif reason := dataset.filters.get("split", {}).get("allowed_because"):
        note("allowed", reason)
