"""Writes benchmarks/results/masking.json: recall per kind, false alarms, speed."""

import asyncio
import json
import platform
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.masking.corpus import Sources, load, make_cases
from benchmarks.masking.measure import false_alarms, speed, summarise, tally
from benchmarks.masking.offload import compare
from shared.privacy.masking import Masker

SETS = ("held_out", "second_development", "development", "tuning")
RESULT = Path(__file__).parents[1] / "results" / "masking.json"


def main(
    per_template: Annotated[int, typer.Option(help="Texts made of each template.")] = 40,
    seed: Annotated[int, typer.Option(help="Another seed, other texts.")] = 2024,
    seconds: Annotated[float, typer.Option(help="How long each way of offloading runs.")] = 8.0,
    out: Annotated[Path, typer.Option(help="Where the result goes.")] = RESULT,
    misses: Annotated[
        bool, typer.Option(help="Print what was missed; the texts are made up.")
    ] = False,
) -> None:
    """Measure the masker on texts made for it."""
    masker = Masker()
    held_out, *earlier = (load(name) for name in SETS)
    listed = [s.with_listed_names() for s in (held_out, *earlier) if s.listed_given]
    sets = {
        sources.name: _measure(masker, sources, per_template, seed, misses)
        for sources in (held_out, *earlier, *listed)
    }
    result = {
        "seed": seed,
        "texts_per_template": per_template,
        "python": platform.python_version(),
        "sets": sets,
        "false_alarms": {s.name: false_alarms(masker, s.plain) for s in (held_out, *earlier)},
        "speed": {
            "with_identifiers": speed(masker, [c.text for c in make_cases(held_out, 5, seed)]),
            "without": speed(masker, held_out.plain),
        },
        "offload": asyncio.run(compare(seconds)),
    }
    out.write_text(json.dumps(result, indent=2) + "\n")
    typer.echo(_table(sets["held_out"]))


def _measure(
    masker: Masker, sources: Sources, per_template: int, seed: int, misses: bool
) -> dict[str, Any]:
    result = tally(masker, make_cases(sources, per_template, seed))
    for line in result.missed if misses else []:
        typer.echo(f"{sources.name}: {line}")
    return summarise(result)


def _table(summary: dict[str, dict[str, Any]]) -> str:
    rows = [
        "| kind | entities | templates | recall | 95 % interval | precision |",
        "|---|---|---|---|---|---|",
    ]
    for kind, row in summary.items():
        interval = f"{row['recall_low']:.3f} to {row['recall_high']:.3f}"
        rows.append(
            f"| {kind} | {row['entities']} | {row['templates']} | {row['recall']:.3f} | {interval} "
            f"| {row['precision'] or 0:.3f} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    typer.run(main)
