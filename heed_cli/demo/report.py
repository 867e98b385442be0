"""What the demo found: one screen for people, the same as JSON for programs."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.panel import Panel
from rich.table import Table

from heed_cli.demo.ranking import RankGain
from heed_cli.terminal import cells, console


@dataclass(frozen=True)
class Latency:
    """Time of `/rerank` over HTTP, milliseconds, of `requests` requests one after the other."""

    candidates: int
    requests: int
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True)
class Round:
    """One turn of the loop: posts in, a model out, its verdict, and how it ranks.

    Accuracies are shares of held-out human comparisons; `rated_auc` is the chance that a response
    rated good gets a higher reward than one that is not. None: nothing was held out to tell.
    """

    sent: int
    acknowledged: int
    stored_in_all: int
    post_seconds: float
    run_id: str
    run_seconds: float
    model: str
    train_pairs: int
    test_pairs: int
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    length_accuracy: float | None
    rated_auc: float | None
    gate: dict[str, Any]
    live_model: str | None
    rerank: RankGain | None


@dataclass(frozen=True)
class Report:
    """Everything that the demo read back from the database and over HTTP."""

    source: str
    left_out: int
    seconds: float
    gate_margin: float
    rounds: list[Round]
    latency: Latency
    requests: int
    failed_requests: int
    background_requests: int
    background_failed: int
    background_models: list[str | None]
    card: str
    plots: list[str]
    data_dir: str

    def write(self, path: Path) -> None:
        """Store it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    def show(self) -> None:
        """Print it on one screen."""
        console.print(Panel(self._table(), title="What was measured", expand=False))

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("")
        for number, _ in enumerate(self.rounds, start=1):
            table.add_column(f"round {number}", justify="right")
        for label, *values in zip(_LABELS, *map(_cells, self.rounds), strict=True):
            table.add_row(*cells(label, *values))
        table.add_row()
        for row in self._traffic():
            table.add_row(*cells(*row))
        return table

    def _traffic(self) -> Iterator[tuple[str, str, str]]:
        latency = self.latency
        p50, p95 = f"p50 {latency.p50_ms:.0f} ms", f"p95 {latency.p95_ms:.0f} ms"
        yield f"/rerank of {latency.candidates}", p50, p95
        yield "requests in all", str(self.requests), f"{self.failed_requests} failed"
        background = f"{self.background_failed} failed"
        yield "  while retraining", str(self.background_requests), background
        seen = " → ".join(model or "none" for model in self.background_models)
        yield "  ranked meanwhile by", "", seen


_LABELS = (
    "posts acknowledged",
    "posts in the database",
    "comparisons learned from",
    "held-out accuracy",
    "  95 % interval",
    "  by length alone",
    "AUC of good ratings",
    "gate",
    "live model",
    "best response at place",
    "  in the input order",
    "  gain, 95 % interval",
    "training took",
)


def _cells(done: Round) -> tuple[str, ...]:
    rank = done.rerank
    return (
        f"{done.acknowledged} of {done.sent}",
        str(done.stored_in_all),
        str(done.train_pairs),
        _share(done.accuracy),
        f"{_share(done.accuracy_low)} to {_share(done.accuracy_high)}",
        _share(done.length_accuracy),
        _share(done.rated_auc),
        str(done.gate["verdict"]).replace("_", " "),
        done.live_model or "none",
        f"{rank.model_rank:.2f}" if rank else "–",
        f"{rank.input_rank:.2f}" if rank else "–",
        f"{rank.low:+.2f} to {rank.high:+.2f}" if rank else "–",
        f"{done.run_seconds:.1f} s",
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
