"""`heed review queue | accuracy`."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from heed_cli.kept_files import count_erasures, putting_in_place, say_whose
from heed_cli.services import DataDir
from heed_cli.terminal import cells, console, done, note, say
from heed_cli.workplace import at_workplace
from shared.errors import ConfigError
from shared.exports import is_kept, keep_export

if TYPE_CHECKING:
    from services.trainer.review.reviewing import ReviewQueue
    from services.trainer.workplace import Workplace

app = typer.Typer(help="Choose what people are asked about next.", no_args_is_help=True)
_WHY = {
    "audit": "drawn at random",
    "unsure": "little like it was judged",
    "undecided": "neither good nor bad to the model",
    "coverage": "unlike the others",
}


@app.command()
def queue(  # noqa: PLR0913 - each is an option of the command
    *,
    n: Annotated[int, typer.Option("--n", min=1, help="How many to ask about.")] = 50,
    agent: Annotated[str | None, typer.Option(help="Only this agent's interactions.")] = None,
    audit_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share that is drawn at random from everything.")
    ] = 0.2,
    by: Annotated[
        str, typer.Option(help="Balance over `agent`, or over a key of the context.")
    ] = "agent",
    model: Annotated[str, typer.Option(help="Whose doubt counts.")] = "champion",
    pool: Annotated[
        int, typer.Option(min=1, help="Most interactions to score; of more, a random part.")
    ] = 2000,
    output: Annotated[
        Path | None,
        typer.Option(help="Write JSON Lines here; in `exports` of the data dir erasures find it."),
    ] = None,
    show_text: Annotated[
        bool, typer.Option("--show-text", help="With the texts; the audit log keeps who read them.")
    ] = False,
    project: Annotated[int, typer.Option(min=1, help="The project.")] = 1,
    data_dir: DataDir = None,
) -> None:
    """The recorded responses whose judgement teaches most, and a random share.

    Responses are left out that somebody judged, whose people did not consent to training or took
    it back, and whose texts were erased.
    """
    from services.trainer.review.reviewing import QueuePlan

    plan = QueuePlan(n, audit_share, agent, by, model, pool, project)

    async def make(workplace: "Workplace") -> "tuple[ReviewQueue, list[dict[str, Any]], Path]":
        from services.trainer.review.reviewing import record_reading, review_queue

        async with workplace.sessions() as session:
            erasures = await count_erasures(session, project)
        found = await review_queue(workplace, plan)
        if show_text:
            await record_reading(workplace, found, project)
        lines = [_line(found, place, show_text) for place in range(len(found.asked))]
        data_dir = workplace.settings.data_dir
        if output is not None:
            async with putting_in_place(
                workplace.sessions, data_dir, project_id=project, erasures=erasures
            ):
                _put_in_place(data_dir, output, lines)
        return found, lines, data_dir

    found, lines, home = at_workplace(data_dir, make)
    _show(found, lines, show_text)
    if output is not None:
        done("written", str(output))
        say_whose(home, output)


@app.command()
def accuracy(
    model: Annotated[str, typer.Option(help="As `heed evaluate` names models.")] = "champion",
    agent: Annotated[str | None, typer.Option(help="Only this agent's interactions.")] = None,
    project: Annotated[int, typer.Option(min=1, help="The project.")] = 1,
    data_dir: DataDir = None,
) -> None:
    """How often a model agrees with people, on the random share that they judged.

    That share alone is a fair sample; what people chose to rate, or were asked for its doubt, is
    not. Prompts that a model may have been trained on are left out.
    """
    from services.trainer.review.reviewing import QueuePlan, audited_agreement

    plan = QueuePlan(agent=agent, model=model, project_id=project)
    found = at_workplace(data_dir, lambda workplace: audited_agreement(workplace, plan))
    done("sample", f"{found.sample:,} drawn at random, {found.judged:,} of them judged")
    if found.left_out:
        note("left out", f"{found.left_out:,} on prompts that are trained on")
    if found.accuracy is None or found.found_good is None or found.expected_good is None:
        note("accuracy", "unknown: too few remain")
        return
    interval = f"95 % interval {found.accuracy.low:.3f} to {found.accuracy.high:.3f}"
    done("accuracy", f"{found.accuracy.mean:.3f} on {found.counted:,} ({interval})")
    done("good", f"{found.found_good:.3f} to people, {found.expected_good:.3f} to the model")
    if found.auc is not None:
        done("AUC", f"{found.auc:.3f}")


def _line(found: "ReviewQueue", place: int, show_text: bool) -> dict[str, Any]:
    one = found.asked[place]
    line = {"place": place + 1, **asdict(one), "id": str(one.id), "is_audit": one.is_audit}
    pair = found.pairs[one.id]
    texts = {"prompt": pair.prompt, "response": pair.response} if show_text else {}
    return line | {"model": found.model} | texts


def _put_in_place(data_dir: Path, path: Path, lines: list[dict[str, Any]]) -> None:
    """Write the queue; in the folder of kept exports, an erasure of anybody in it removes it."""
    try:
        if is_kept(data_dir, path):
            keep_export(data_dir, path, [], [line["id"] for line in lines])
        path.touch(mode=0o600)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror}); give another --output."
        ) from None


def _show(found: "ReviewQueue", lines: list[dict[str, Any]], show_text: bool) -> None:
    reasons = Counter(_WHY[one.reason] for one in found.asked)
    told = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    done("queue", f"{len(lines)} of {found.unjudged:,} not judged yet: {told}")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", "interaction", "slice", "why", "probability", "uncertainty", "unlike"):
        table.add_column(heading)
    for line in lines:
        table.add_row(
            *cells(
                str(line["place"]),
                line["interaction_id"],
                line["slice"],
                _WHY[line["reason"]],
                _number(line["probability"]),
                _number(line["uncertainty"]),
                "yes" if line["out_of_domain"] else "",
            )
        )
    console.print(table)
    for line in lines if show_text else ():
        say(f"\n{line['place']}. {line['interaction_id']}")
        say(f"  prompt: {line['prompt']}\n  response: {line['response']}")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
