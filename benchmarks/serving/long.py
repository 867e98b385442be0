"""What minutes and hours show: overload, promotions under load, dying threads, growth.

`make bench-serving-long` runs it for ten minutes, and with `BENCH="--soak-minutes 60"` for more
than an hour. All load goes to services that it starts itself on 127.0.0.1.
"""

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.ingest_servers import machine, place
from benchmarks.serving.kills import measure_kills
from benchmarks.serving.machine import cpu_flags
from benchmarks.serving.models import artifact
from benchmarks.serving.overload import Load, measure_overload
from benchmarks.serving.place import Deployment, reward_service
from benchmarks.serving.rows import Question, Side, sides
from benchmarks.serving.soak import measure_soak
from benchmarks.serving.swaps import measure_swaps
from benchmarks.serving.texts import Texts

RESULTS = Path("benchmarks/results")
# More than are asked in both minutes of overload: a service remembers those it served, so that a
# second round would overload it with half of what is offered.
QUESTIONS = 14_000


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    overload_s: float = 60
    around_s: float = 8
    around_clients: int = 16
    swaps: int = 100
    kills: int = 20
    kill_every_s: float = 1
    soak_minutes: float = 1
    questions: int = QUESTIONS


Part = Callable[[Deployment, Side, Sequence[uuid.UUID], Sizes], dict[str, Any]]


def main(
    *,
    engine: Annotated[str, typer.Option(help="auto, fp32, bf16 or int8.")] = "auto",
    only: Annotated[str, typer.Option(help="overload, swaps, kills, soak; all if empty.")] = "",
    overload_s: Annotated[float, typer.Option(help="Seconds of overload, twice.")] = 60,
    swaps: Annotated[int, typer.Option(help="Promotions under load.")] = 100,
    kills: Annotated[int, typer.Option(help="Threads killed under load.")] = 20,
    soak_minutes: Annotated[float, typer.Option(help="Minutes of all kinds of requests.")] = 1,
    data: Annotated[Path, typer.Option(help="A folder for the database.")] = Path("build"),
    out: Annotated[Path, typer.Option(help="The result.")] = RESULTS / "serving-long.json",
) -> None:
    """Measure, print and write one JSON file."""
    sizes = Sizes(overload_s, swaps=swaps, kills=kills, soak_minutes=soak_minutes)
    folders = [artifact("fp32", {}), artifact("fp32-flat", {"views": False})]
    with place(data) as here:
        facts = machine(here.data_dir) | {"cpu_flags": cpu_flags()}
        deployment = Deployment(here.postgres.url(), here.data_dir, here.token)
        versions = [asyncio.run(deployment.register(folder)) for folder in folders]
        settings = {"HEED_REWARD_ENGINE": engine}
        found = measure_long(deployment, versions, sizes, only=only, settings=settings)
    result = {**found, "engine": engine, "machine": facts}
    out.write_text(json.dumps(result, indent=2) + "\n")
    soak = {key: value for key, value in result.get("soak", {}).items() if key != "samples"}
    Console().print_json(data=result | {"soak": soak})


def measure_long(
    deployment: Deployment,
    versions: Sequence[uuid.UUID],
    sizes: Sizes,
    *,
    only: str = "",
    settings: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Every part that is wanted, each on a service of its own."""
    parts: dict[str, Part] = {"overload": overload, "swaps": swap, "kills": kill, "soak": soak}
    found = {}
    for name, part in parts.items():
        if not only or name in only.split(","):
            asyncio.run(deployment.promote(versions[0]))
            with reward_service(deployment, settings) as server:
                side = sides(deployment, server, None)["ours"]
                found[name] = part(deployment, side, versions, sizes)
    return found


def overload(_: Deployment, side: Side, __: Sequence[uuid.UUID], sizes: Sizes) -> dict[str, Any]:
    """Clients who wait a second at most, and say so; then clients who do not say."""
    bodies, load = _bodies(side, sizes), _load(sizes)
    return {
        name: measure_overload(side, bodies, load=load, deadline_ms=deadline_ms)
        for name, deadline_ms in (("deadline_of_a_second", 1000), ("no_deadline", None))
    }


def _load(sizes: Sizes) -> Load:
    return Load(4, sizes.overload_s, sizes.around_s, sizes.around_clients)


def swap(
    deployment: Deployment, side: Side, versions: Sequence[uuid.UUID], sizes: Sizes
) -> dict[str, Any]:
    """Two versions in turn."""
    numbered = dict(enumerate(versions, start=1))
    asked = measure_swaps(deployment, side, _questions(40), numbered, swaps=sizes.swaps)
    return asyncio.run(asked)


def kill(_: Deployment, side: Side, __: Sequence[uuid.UUID], sizes: Sizes) -> dict[str, Any]:
    """One thread after the other."""
    return measure_kills(side, _bodies(side, sizes), kills=sizes.kills, every_s=sizes.kill_every_s)


def soak(
    deployment: Deployment, side: Side, versions: Sequence[uuid.UUID], sizes: Sizes
) -> dict[str, Any]:
    """All shapes for a long time, with a promotion now and then."""
    asked = measure_soak(deployment, side.server, versions, minutes=sizes.soak_minutes)
    return asyncio.run(asked)


def _bodies(side: Side, sizes: Sizes) -> Iterator[bytes]:
    """Requests without an end, none of which comes again in the minutes that are measured."""
    return cycle([side.encode(question) for question in _questions(sizes.questions)])


def _questions(number: int) -> list[Question]:
    texts = Texts(11)
    return [Question(texts.query(), texts.documents()) for _ in range(number)]


if __name__ == "__main__":
    typer.run(main)
