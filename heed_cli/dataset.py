"""`heed dataset prepare | list | show`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from heed_cli.services import DataDir
from heed_cli.terminal import cells, console, done, say
from heed_cli.workplace import at_workplace

if TYPE_CHECKING:
    from services.trainer.workplace import Workplace
    from shared.db.tables import Dataset

app = typer.Typer(help="Freeze feedback into datasets.", no_args_is_help=True)


@app.command()
def prepare(
    output: Annotated[
        Path | None, typer.Option(help="Also write the comparisons to this JSON Lines file.")
    ] = None,
    min_pairs: Annotated[int, typer.Option(min=0, help="Refuse with fewer comparisons.")] = 1,
    name: Annotated[str, typer.Option(help="What the dataset is for.")] = "feedback",
    feedback_db: Annotated[
        str | None, typer.Option(help="Database to read; without: this deployment's.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Freeze everything that may be trained on into a dataset."""

    async def freeze(workplace: "Workplace") -> "Dataset":
        return await _prepare(workplace, output, min_pairs, name)

    dataset = at_workplace(data_dir, freeze, database_url=feedback_db)
    done("dataset", f"{dataset.id}, {dataset.rows} rows, sha256 {dataset.sha256[:16]}…")
    _show_counts(dataset)
    if output is not None:
        done("written", str(output))


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


async def _prepare(
    workplace: "Workplace", output: Path | None, min_pairs: int, name: str
) -> "Dataset":
    from services.trainer.prepare import export_preferences
    from services.trainer.snapshots import freeze_feedback, load_dataset
    from shared.db.audit import person_name

    freezing = workplace.freezing(person_name(), min_pairs=min_pairs)
    async with workplace.sessions.begin() as session:
        dataset = await freeze_feedback(session, freezing, name=name)
    if output is not None:
        export_preferences(load_dataset(dataset, workplace.store), output)
    return dataset


def _show_counts(dataset: "Dataset") -> None:
    counts = dataset.counts
    for what in ("pairs", "rated", "ties", "groups"):
        say(f"    {what:<8} {counts[f'{what}_train']} train, {counts[f'{what}_test']} held out")
    say(f"    {counts['contradictions']} contradicting comparisons")
