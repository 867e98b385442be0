"""`heed evaluate FILE... --model REF`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from heed_cli.services import DataDir
from heed_cli.terminal import done, fault, note, title, working
from heed_cli.workplace import at_workplace
from shared.errors import ArtifactError, Detail, InvalidInput, NotEnoughData

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from services.trainer.evaluation.cases import Case
    from services.trainer.evaluation.figures import Contestant, Evaluated
    from services.trainer.evaluation.models import FoundModel
    from services.trainer.evaluation.report import Source
    from services.trainer.workplace import Workplace

app = typer.Typer()
DATASET = "dataset:"
Side = Literal["test", "train", "all"]


@dataclass
class _Gathered:
    """The models and the cases of all sources, as they were found."""

    models: "list[FoundModel]" = field(default_factory=list)
    cases: "list[Case]" = field(default_factory=list)
    sources: "list[Source]" = field(default_factory=list)
    trained: "set[bytes]" = field(default_factory=set)
    learned: set[str] = field(default_factory=set)
    trained_on: int = 0
    nearly_trained_on: int = 0
    secret: bytes = b""
    margin: float = 0.0


@app.command()
def evaluate(  # noqa: PLR0913, PLR0917 - each is an option of the command
    files: Annotated[
        list[str],
        typer.Argument(help="Files of comparisons or best-of-n prompts, or `dataset:7`."),
    ],
    model: Annotated[
        list[str],
        typer.Option(help="`reward@3`, `champion`, a folder; several are compared in order."),
    ] = ["champion"],  # noqa: B006 - Typer copies it
    side: Annotated[Side, typer.Option(help="Of what names a split, this side alone.")] = "test",
    by: Annotated[
        str | None, typer.Option(help="Report by this column, or by this slice of a dataset.")
    ] = None,
    unseen: Annotated[
        bool,
        typer.Option("--unseen", help="Leave out what is trained on, exactly or nearly."),
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all figures here.")
    ] = None,
    plots: Annotated[Path | None, typer.Option(help="Write plots into this folder.")] = None,
    errors: Annotated[
        Path | None,
        typer.Option(help="List wrong rows here; FILE.errors.jsonl when not given."),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Judge reward models on files or frozen datasets, side by side, beside the baselines.

    Exit status 1 when rows were wrong; they are listed, and the figures are of the others.
    """
    from services.trainer.evaluation.figures import evaluate_cases
    from services.trainer.evaluation.report import report, write_report

    title("heed evaluate", f"{', '.join(model)} on {', '.join(files)}")
    gathered = at_workplace(data_dir, lambda workplace: _gather(workplace, model, files, side, by))
    faults = _read_files(gathered, files, side=side, by=by, errors=errors)
    _look_for_known(gathered, unseen=unseen)
    _require_cases(gathered.cases)
    evaluated = evaluate_cases(gathered.cases, _contestants(gathered), margin=gathered.margin)
    _show(evaluated, gathered)
    if json_file is not None:
        document = report(
            evaluated, gathered.sources, gathered.cases,
            trained_on=gathered.trained_on, nearly_trained_on=gathered.nearly_trained_on,
        )  # fmt: skip
        write_report(document, json_file)
        done("written", str(json_file))
    if plots is not None:
        from services.trainer.evaluation.plots import write_plots  # brings matplotlib

        for path in write_plots(plots, evaluated):
            done("written", str(path))
    raise typer.Exit(1 if faults else 0)


async def _gather(
    workplace: "Workplace", models: list[str], files: list[str], side: str, by: str | None
) -> _Gathered:
    from services.trainer.evaluation.cases import cases_of_dataset
    from services.trainer.evaluation.models import is_folder, model_in_folder, registered_model
    from services.trainer.evaluation.report import Source
    from services.trainer.queries import find_dataset, groups_trained_on
    from services.trainer.snapshots import load_dataset

    found = _Gathered(secret=workplace.secret, margin=workplace.settings.gate_margin)
    async with workplace.sessions() as session:
        found.trained = await groups_trained_on(session)
        for reference in models:
            if is_folder(reference):
                found.models.append(model_in_folder(reference, secret=workplace.secret))
            else:
                found.models.append(
                    await registered_model(
                        session, reference, store=workplace.store, secret=workplace.secret
                    )
                )
        await _learn_prompts(found, session, workplace)
        for name in (name for name in files if name.startswith(DATASET)):
            dataset = await find_dataset(session, _number(name))
            cases = cases_of_dataset(load_dataset(dataset, workplace.store), side=side, by=by)
            found.cases += cases
            found.sources.append(Source(name, dataset.sha256, len(cases), {}, 0))
    return found


async def _learn_prompts(found: _Gathered, session: "AsyncSession", workplace: "Workplace") -> None:
    """Add the prompts that the models were trained on, as far as they are still here."""
    from services.trainer.evaluation.known import learned_prompts

    for model in found.models:
        if model.about["mode"] == "added":
            told = f"near-duplicates of what {model.name} learned from: it was made elsewhere"
            note("not looked for", told)
    snapshots = dict.fromkeys(model.about["dataset_snapshot"] for model in found.models)
    for snapshot in filter(None, snapshots):  # a model that nobody here has judged names none
        try:
            prompts = await learned_prompts(session, workplace.store, snapshot)
        except ArtifactError as error:
            note("not looked for", f"near-duplicates of what was trained on: {error.detail}")
            continue
        if prompts is None:
            names = [one.name for one in found.models if one.about["dataset_snapshot"] == snapshot]
            told = f"near-duplicates of what {', '.join(names)} learned from: not a dataset of ours"
            note("not looked for", told)
        found.learned |= prompts or set()


def _number(name: str) -> int:
    number = name.removeprefix(DATASET)
    if not number.isdecimal() or len(number) > 9:
        raise InvalidInput(f"{name} is no dataset; name it by its number, as in `dataset:7`.")
    return int(number)


def _read_files(
    gathered: _Gathered, files: list[str], *, side: str, by: str | None, errors: Path | None
) -> int:
    """Add the cases of the files; how many rows were wrong, which are listed where it says."""
    from heed_cli.exchange.faults import FaultFile
    from heed_cli.exchange.judged import SUBSET, read_judged
    from services.trainer.evaluation.report import Source
    from shared.artifacts import file_sha256

    listed: dict[Path, list[tuple[int, str, Detail]]] = {}
    for path in (Path(name) for name in files if not name.startswith(DATASET)):
        judged = read_judged(path, side=side, by=by or SUBSET)
        gathered.cases += judged.cases
        left_out = {name: count for name, count in judged.left_out.items() if count}
        gathered.sources.append(
            Source(path.name, file_sha256(path), len(judged.cases), left_out, len(judged.faults))
        )
        for reason, count in left_out.items():
            note("left out", f"{count:,} of {path.name}: {reason.replace('_', ' ')}")
        report = errors or path.with_name(f"{path.name}.errors.jsonl")
        listed.setdefault(report, []).extend(judged.faults)
    for report, faults in listed.items():
        with FaultFile(report, 0) as file:
            file.add(faults)
        if faults:
            fault("wrong rows", f"{len(faults):,}; see {report}")
    return sum(map(len, listed.values()))


def _look_for_known(gathered: _Gathered, *, unseen: bool) -> None:
    """Count the cases whose prompts are trained on, as they are or nearly, or leave them out."""
    from services.trainer.evaluation.known import known_nearly
    from services.trainer.splits import group_by_secret

    group_of, cases = group_by_secret(gathered.secret, 1), gathered.cases
    known = [group_of(case.prompt) in gathered.trained for case in cases]
    near = known_nearly([case.prompt for case in cases], gathered.learned)
    either = [one or other for one, other in zip(known, near, strict=True)]
    if not any(either):
        return
    exact, nearly = sum(known), sum(either) - sum(known)
    told = (
        f"{sum(either):,} of {len(cases):,} cases have prompts that are trained on: "
        f"{exact:,} as they are, {nearly:,} nearly"
    )
    if unseen:
        gathered.cases = [one for one, is_known in zip(cases, either, strict=True) if not is_known]
        note("left out", told)
    else:
        gathered.trained_on, gathered.nearly_trained_on = exact, nearly
        note("known prompts", f"{told}; figures on them flatter (--unseen leaves them out)")


def _require_cases(cases: "list[Case]") -> None:
    if len(cases) < 2:
        raise NotEnoughData(
            "There are fewer than two comparisons to judge a model on: they are ties, wrong, or on "
            "another side (--side all)."
        )


def _contestants(gathered: _Gathered) -> "list[Contestant]":
    """Every model's rewards on the cases; one model is in memory at a time."""
    from services.trainer.evaluation.figures import Contestant
    from services.trainer.evaluation.outcomes import outcomes_of, score_cases
    from shared.ml.artifact import load_scorer

    found: list[Contestant] = []
    for at, model in enumerate(gathered.models, start=1):
        taken = {one.name for one in found}
        name = f"{model.name} ({at})" if model.name in taken else model.name
        with working(f"{name} …") as say:

            def tell(share: float, name: str = name) -> None:
                say(f"{name} {share:.0%}")

            scorer = load_scorer(model.folder, secret=gathered.secret)
            rewards = score_cases(scorer, gathered.cases, tell)
        found.append(Contestant(name, True, outcomes_of(rewards), rewards, model.about))
    return found


def _show(evaluated: "Evaluated", gathered: _Gathered) -> None:
    from heed_cli.evaluation_tables import show

    groups = len({case.group for case in gathered.cases})
    done("cases", f"{len(gathered.cases):,} of {groups:,} different prompts")
    show(evaluated)
