"""Rewards over HTTP beside infinity-emb, the bare engine and the machine's matrix products.

`make bench-serving` runs it, after `make bench-serving-setup` once; docs/performance.md explains
the rows. Every round measures all of them in turn: whatever else the machine does meets all.
"""

import asyncio
import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.ingest_servers import machine, place
from benchmarks.serving import peer
from benchmarks.serving.load import Connection
from benchmarks.serving.machine import cpu_flags
from benchmarks.serving.models import artifact, wide_encoder
from benchmarks.serving.place import Deployment, InProcess, in_process, reward_service
from benchmarks.serving.ratios import ratios, targets
from benchmarks.serving.rows import Measured, Question, Row, Side, measure, rows, sides, summary
from benchmarks.serving.texts import Texts

RESULTS = Path("benchmarks/results")
EngineName = Literal["auto", "fp32", "bf16", "int8"]


def main(
    *,
    engine: Annotated[EngineName, typer.Option(help="What HEED_REWARD_ENGINE is.")] = "auto",
    rounds: Annotated[int, typer.Option(help="Rounds; the medians are over them.")] = 5,
    seconds: Annotated[float, typer.Option(help="Of each run.")] = 6,
    alone: Annotated[bool, typer.Option(help="Without the peer.")] = False,
    only: Annotated[str, typer.Option(help="Names of rows, with commas; all when empty.")] = "",
    data: Annotated[Path, typer.Option(help="A folder for the database.")] = Path("build"),
    out: Annotated[Path | None, typer.Option(help="The result; by engine when not given.")] = None,
) -> None:
    """Measure, print a table, and write one JSON file with every number."""
    if not alone and not peer.is_installed():
        raise typer.BadParameter("the peer is missing: make bench-serving-setup, or --alone")
    chosen = {name: row for name, row in rows().items() if not only or name in only.split(",")}
    settings = {"HEED_REWARD_ENGINE": engine}
    folder, reference = _artifacts(engine)
    with ExitStack() as stack:
        here = stack.enter_context(place(data))
        facts = machine(here.data_dir) | {"cpu_flags": cpu_flags()}
        deployment = Deployment(here.postgres.url(), here.data_dir, here.token)
        for name, one in {"reward": folder, **_long_ones(engine)}.items():
            asyncio.run(deployment.register(one, name))
        ours = stack.enter_context(reward_service(deployment, settings))
        infinity = None if alone else stack.enter_context(peer.infinity())
        threads = len(os.sched_getaffinity(0))
        bare = stack.enter_context(
            in_process(folder, reference, engine=engine, threads=min(8, threads))
        )
        asked = sides(deployment, ours, infinity)
        measured, ceilings = measure_all(chosen, asked, bare, rounds=rounds, seconds=seconds)
        closeness = bare.ask("agree", seed=99, requests=100) | same_over_http(asked["ours"], bare)
        about = bare.ask("about")
    found = ratios(measured, ceilings) | closeness
    result = {
        **found,
        "targets": targets(found, str(about["engine"])),
        **about,
        "peer": None if alone else peer.version(),
        "machine": facts,
        "rounds": rounds,
        "seconds": seconds,
        "rows": {
            name: {side: summary(done) for side, done in by_side.items()}
            for name, by_side in measured.items()
        },
        "ceilings": ceilings,
    }
    show(result)
    target = out or RESULTS / f"serving-{about['engine']}.json"
    target.write_text(json.dumps(result, indent=2) + "\n")


def measure_all(
    chosen: Mapping[str, Row],
    asked: Mapping[str, Side],
    bare: InProcess,
    *,
    rounds: int,
    seconds: float,
) -> tuple[dict[str, dict[str, list[Measured]]], dict[str, list[Any]]]:
    """Every side of every row, and both ceilings, once a round, after a short run of each."""
    measured: dict[str, dict[str, list[Measured]]] = {name: defaultdict(list) for name in chosen}
    ceilings: dict[str, list[Any]] = defaultdict(list)
    for turn in range(rounds + 1):
        is_warm = turn > 0
        length = seconds if is_warm else 1.0
        for at, (name, row) in enumerate(chosen.items()):
            for side in row.sides:
                if side in asked:
                    run = measure(asked[side], row, seconds=length, seed=1000 * turn + at)
                    measured[name][side] += [run] * is_warm
        engine = bare.ask("rerank", seconds=length, seed=1000 * turn + 999)
        products = bare.ask("multiply", seconds=length / 3)
        ceilings["engine"] += [engine] * is_warm
        ceilings["products"] += [products] * is_warm
    return measured, dict(ceilings)


def same_over_http(side: Side, bare: InProcess) -> dict[str, Any]:
    """How far scores that came over HTTP are from those of the bare engine."""
    texts, pairs, served = Texts(5), [], []
    for _ in range(5):
        question = Question(texts.query(), texts.documents())
        reply = one_reply(side, question)
        scores = {one["index"]: one["relevance_score"] for one in reply["results"]}
        served += [scores[at] for at in range(len(question.documents))]
        pairs += [(question.query, document) for document in question.documents]
    exact: Sequence[float] = bare.ask("rewards", pairs=pairs)["probability"]
    differences = [abs(one - other) for one, other in zip(served, exact, strict=True)]
    return {"http_difference_largest": max(differences)}


def one_reply(side: Side, question: Question) -> dict[str, Any]:
    """The reply to one request.

    Raises:
        RuntimeError: it is no success.
    """
    reply = asyncio.run(Connection(side.target).post(side.encode(question)))
    if reply.status != 200:
        raise RuntimeError(f"{side.target.path} replied {reply.status}: {reply.body[:200]!r}")
    found: dict[str, Any] = json.loads(reply.body)
    return found


def show(result: Mapping[str, Any]) -> None:
    """The rows as a table, then the figures."""
    table = Table("row", "side", "candidates/s", "p50 ms", "p99 ms", "CPU ms", "load CPU")
    for name, by_side in result["rows"].items():
        for side, row in by_side.items():
            numbers = [row[key] for key in ("candidates_per_s", "p50_ms", "p99_ms")]
            cost = row["server_cpu_ms_per_reply"], f"{row['load_cpu_share']:.1%}"
            table.add_row(name, side, *(f"{number:.1f}" for number in numbers), *map(str, cost))
    console = Console()
    console.print(table)
    console.print_json(data={name: result[name] for name in result if name != "rows"})


def _artifacts(engine: EngineName) -> tuple[Path, Path]:
    """What is served, and what it is compared with: fitted on int8 only if int8 is served."""
    reference = artifact("fp32", {})
    return (
        (artifact("int8", {"engine": "int8"}), reference) if engine == "int8" else (reference,) * 2
    )


def _long_ones(engine: EngineName) -> dict[str, Path]:
    """For long prompts: prompt and response apart, and joined; both with windows of 512 tokens."""
    wide = {"base_model": str(wide_encoder()), "prompt_tokens": 512}
    mark = "int8" if engine == "int8" else "fp32"
    more = {"engine": "int8"} if engine == "int8" else {}
    return {
        "wide": artifact(f"wide-{mark}", wide | more),
        "joined": artifact(f"joined-{mark}", wide | more | {"mode": "original"}),
    }


if __name__ == "__main__":
    typer.run(main)
