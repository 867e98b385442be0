"""How fast feedback is taken in durably, beside its ceiling and an ORM commit per request.

`make bench-ingest` runs it (wrk must be installed; docs/performance.md explains the rows). All
paths are the same app with the real key check, scopes and validation, in a server process of its
own each, on one Postgres with fsync and synchronous_commit on. Every round measures all of them in
turn, so that whatever else the machine does meets all of them.
"""

import json
import os
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from ingest_batches import measure_batches
from ingest_overload import measure_overload
from ingest_peer import measure_peer
from ingest_servers import Place, Run, Server, machine, place, serving, wrk
from rich.console import Console
from rich.table import Table

from shared.privacy.keyring import new_master_key

RESULTS = Path(__file__).parent / "results"
CONNECTIONS = 64
ROUNDED = 3


@dataclass(frozen=True)
class Row:
    """One line of the result: a path of the app, what is posted to it, under which settings."""

    path: str
    posts: str = "own_id"
    settings: Mapping[str, str] = field(default_factory=dict)


def rows() -> dict[str, Row]:
    """The lines, each with a server of its own."""
    encryption = {"HEED_ENCRYPTION": "on", "HEED_ENCRYPTION_KEYS": new_master_key()}
    return {
        "ceiling": Row("ceiling"),
        "durable": Row("durable"),
        "orm_commit": Row("orm"),
        "durable_mixed_keys": Row("durable", "mixed"),
        "durable_anonymous": Row("durable", "bare"),
        "durable_masked": Row("durable", settings={"HEED_MASKING": "mask"}),
        "durable_encrypted": Row("durable", settings=encryption),
        "durable_masked_encrypted": Row("durable", settings={"HEED_MASKING": "mask", **encryption}),
    }


def main(
    rounds: Annotated[int, typer.Option(help="Rounds; the medians are over them.")] = 5,
    seconds: Annotated[int, typer.Option(help="Of each run.")] = 5,
    only: Annotated[str, typer.Option(help="Names of rows, with commas; all when empty.")] = "",
    data: Annotated[Path, typer.Option(help="A folder on a real disk.")] = Path("build"),
    out: Annotated[Path | None, typer.Option(help="The result; by cores when not given.")] = None,
) -> None:
    """Measure, print a table, and write one JSON file with every number."""
    chosen = {name: row for name, row in rows().items() if not only or name in only.split(",")}
    with place(data) as here:
        facts = machine(here.data_dir)
        runs = measure_rows(here, chosen, rounds=rounds, seconds=seconds)
        batches = measure_batches(here, seconds=seconds) if not only else {}
        overload = measure_overload(here, seconds=seconds) if not only else {}
    peer = measure_peer(data, rounds=rounds, seconds=seconds) if not only else {}
    result = {
        **ratios(runs),
        "machine": facts,
        "connections": CONNECTIONS,
        "rounds": rounds,
        "seconds": seconds,
        "rows": {name: summary(done) for name, done in runs.items()},
        "batches": batches,
        "overload": overload,
        "peer_phoenix": peer,
    }
    show(result)
    target = out or RESULTS / f"ingest-{os.cpu_count()}-cores.json"
    target.write_text(json.dumps(result, indent=2) + "\n")


def measure_rows(
    here: Place, chosen: Mapping[str, Row], *, rounds: int, seconds: int
) -> dict[str, list[Run]]:
    """Every row's runs, one per round, after one unmeasured second each."""
    runs: dict[str, list[Run]] = {name: [] for name in chosen}
    with ExitStack() as stack:
        servers: dict[str, Server] = {}
        for name, row in chosen.items():
            servers[name] = stack.enter_context(serving(here, row.path, settings=row.settings))
            wrk(here, servers[name], row.posts, seconds=1)
        for _ in range(rounds):
            for name, row in chosen.items():
                runs[name].append(wrk(here, servers[name], row.posts, seconds=seconds))
    return runs


def ratios(runs: Mapping[str, Sequence[Run]]) -> dict[str, float]:
    """What the durable path is of its ceiling, and how many times an ORM commit per request."""
    per_s = {name: median(done, "requests_per_s") for name, done in runs.items()}
    if not {"ceiling", "durable", "orm_commit"} <= per_s.keys():
        return {}
    return {
        "share_of_ceiling": round(per_s["durable"] / per_s["ceiling"], ROUNDED),
        "times_orm_commit": round(per_s["durable"] / per_s["orm_commit"], ROUNDED),
    }


def summary(runs: Sequence[Run]) -> dict[str, Any]:
    """Medians, the spread of the rate, every rate, and whatever went wrong."""
    rates = [round(run.requests_per_s, 1) for run in runs]
    return {
        **{
            name: round(median(runs, name), ROUNDED)
            for name in ("requests_per_s", "app_cpu_us", "postgres_cpu_us", "p50_ms", "p99_ms")
        },
        "spread": [min(rates), max(rates)],
        "every_rate": rates,
        "failed": sum(it.failed_replies + it.connection_errors + it.timeouts for it in runs),
    }


def median(runs: Sequence[Run], name: str) -> float:
    return statistics.median(getattr(run, name) for run in runs)


def show(result: Mapping[str, Any]) -> None:
    table = Table("row", "posts/s", "lowest–highest", "app µs", "Postgres µs", "p50 ms", "p99 ms")
    for name, row in result["rows"].items():
        numbers = [row[key] for key in ("app_cpu_us", "postgres_cpu_us", "p50_ms", "p99_ms")]
        spread = "–".join(f"{it:.0f}" for it in row["spread"])
        table.add_row(name, f"{row['requests_per_s']:.0f}", spread, *(f"{n:.1f}" for n in numbers))
    console = Console()
    console.print(table)
    rest = {name: result[name] for name in result if name not in {"rows", "machine"}}
    console.print_json(data=rest)


if __name__ == "__main__":
    typer.run(main)
