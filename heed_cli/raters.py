"""`heed raters list | agreement | confusions | lookup`."""

import json
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from heed_cli.services import DataDir
from heed_cli.terminal import cells, console, hint, note, say
from heed_cli.workplace import at_workplace

if TYPE_CHECKING:
    from services.trainer.datasets import Evidence
    from services.trainer.raters.agreement import AgreementOn
    from services.trainer.raters.bursts import Burst
    from services.trainer.raters.confusions import RaterConfusions
    from services.trainer.raters.report import RaterLine, RaterReport
    from services.trainer.workplace import Workplace
    from shared.agreement.alpha import Estimate

app = typer.Typer(help="How far raters agree, and who judges well.", no_args_is_help=True)

DatasetId = Annotated[
    int | None,
    typer.Option("--dataset", help="A frozen dataset; without, all that may be trained on now."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
UNKNOWN = "–"
_SHOWN = 0.05  # rarer confusions are in the JSON


class Kind(StrEnum):
    """Kinds of judgements that are categories."""

    THUMBS = "thumbs"
    STARS = "stars"


@app.command("list")
def list_all(
    dataset: DatasetId = None,
    largest_share: Annotated[
        float, typer.Option(min=0, max=1, help="Flag who judged more than this share of all.")
    ] = 0.5,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Every rater, by pseudonym: judgements, agreement, reliability, weight and flags."""
    from services.trainer.raters.report import report_raters

    report = report_raters(_read(dataset, data_dir), largest_share=largest_share)
    if as_json:
        say(json.dumps(report.as_json(), indent=2))
        return
    if not report.raters:
        hint("Nobody whose rater is known has judged anything yet.")
        return
    headings = ("rater", "judgements", "share", "with others", "reliability", "weight", "flags")
    _print_table(headings, [_rater_cells(line) for line in report.raters])
    _show_bursts(report)


@app.command()
def agreement(
    by: Annotated[
        str | None,
        typer.Option(help="month, week, agent, task, or another slice; without, all together."),
    ] = None,
    dataset: DatasetId = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """How far raters agree on what several of them judged, with 95 % intervals."""
    from services.trainer.raters.agreement import agreement_by
    from services.trainer.raters.judgements import opinions

    found = agreement_by(opinions(_read(dataset, data_dir)), by)
    if as_json:
        say(json.dumps([asdict(one) for one in found], indent=2))
        return
    if by is not None and not found:
        hint(f"No judgement says its {by}; try month, week, agent, task or a key of the context.")
        return
    if not any(one.agreement.units for one in found):
        hint("No two raters have judged the same yet.")
        return
    headings = ("kind", by or "", "units", "raters", "alpha", "agree", "kappa")
    _print_table(headings, [_agreement_cells(one) for one in found if one.agreement.units])


@app.command()
def confusions(
    kind: Annotated[Kind, typer.Option(help="What was said.")] = Kind.THUMBS,
    dataset: DatasetId = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """What each rater says where the truth is something else, by Dawid and Skene's method."""
    from services.trainer.raters.confusions import confusions_of
    from services.trainer.raters.judgements import opinions

    found = confusions_of(opinions(_read(dataset, data_dir)), kind.value)
    if as_json:
        say(json.dumps([asdict(one) for one in found], indent=2))
        return
    if not found:
        hint(f"No two raters have judged the same in {kind.value} yet, or all said the same.")
        return
    headings = ("rater", "judgements", "informed", *(f"{true} said as" for true in found[0].says))
    _print_table(headings, [_confusion_cells(one) for one in found])


@app.command()
def lookup(
    identity: Annotated[str, typer.Argument(help="The id as your application sent it.")],
    project: Annotated[int, typer.Option(min=1, help="The project it was sent to.")] = 1,
    data_dir: DataDir = None,
) -> None:
    """The pseudonym under which a rater's rows are stored, and how many are live."""
    from services.trainer.queries import count_posts_of
    from shared.privacy import pseudonym

    async def look(workplace: "Workplace") -> tuple[str, int]:
        rater = pseudonym(workplace.secret, project, "rater", identity)
        async with workplace.sessions() as session:
            return rater, await count_posts_of(session, rater, project)

    rater, posts = at_workplace(data_dir, look)
    say(f"{rater}  {posts} live posts")


def _read(dataset: int | None, data_dir: DataDir) -> "Evidence":
    from services.trainer.raters.reading import read_judgements

    async def read(workplace: "Workplace") -> "Evidence":
        async with workplace.sessions() as session:
            return await read_judgements(session, workplace, dataset)

    return at_workplace(data_dir, read)


def _rater_cells(line: "RaterLine") -> list[str | Text]:
    others, reliable = line.others, line.reliability
    return [
        line.rater,
        str(line.judgements),
        f"{line.share:.0%}",
        _interval(others.agreement, others.low, others.high) if others else UNKNOWN,
        _interval(reliable.expected, reliable.low, reliable.high) if reliable else UNKNOWN,
        f"{line.weight:.2f}",
        Text(", ".join(line.flags), "yellow"),
    ]


def _agreement_cells(one: "AgreementOn") -> list[str | Text]:
    counts = (str(one.agreement.units), str(one.agreement.raters))
    figures = (_estimate(one.agreement.alpha), _estimate(one.agreement.percent))
    kappa = UNKNOWN if one.kappa is None else f"{one.kappa:.2f}"
    return [one.kind, one.name, *counts, *figures, kappa]


def _confusion_cells(one: "RaterConfusions") -> list[str | Text]:
    said = [
        ", ".join(f"{name} {share:.0%}" for name, share in row.items() if share >= _SHOWN)
        for row in one.says.values()
    ]
    return [one.rater, str(one.judgements), f"{one.informedness:.2f}", *said]


def _show_bursts(report: "RaterReport") -> None:
    for burst in report.bursts:
        expected = f"{burst.expected:.1f} were to be expected, p = {burst.p_value:.1g}"
        note("burst", f"{_crowding(burst)} within an hour of {burst.starts[:16]}: {expected}")
    if report.bursts:
        hint("`--json` names the rows.")


def _crowding(burst: "Burst") -> str:
    if burst.kind == "rater":
        return f"{burst.posts} posts by rater {burst.name}"
    on = f"agent {burst.name}" if burst.kind == "agent" else "one response"
    return f"{burst.size} newcomers on {on}"


def _estimate(found: "Estimate | None") -> str:
    return UNKNOWN if found is None else _interval(found.value, found.low, found.high)


def _interval(value: float, low: float | None, high: float | None) -> str:
    return f"{value:.2f}" if low is None or high is None else f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _print_table(headings: tuple[str, ...], rows: list[list[str | Text]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*cells(*row))
    console.print(table)
