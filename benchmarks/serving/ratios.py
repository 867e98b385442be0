"""The figures that matter, from all that was measured; medians of what each round gave in turn."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.serving.rows import Measured

Results = Mapping[str, Mapping[str, Sequence[Measured]]]
Ceilings = Mapping[str, Sequence[Mapping[str, float]]]
RERANK = ("rerank_1_client", "rerank_8_clients", "rerank_32_clients")


@dataclass(frozen=True)
class Target:
    """What a figure should be: at least, or at most."""

    name: str
    least: float | None = None
    most: float | None = None

    def judged(self, figures: Mapping[str, Any]) -> dict[str, Any] | None:
        """What was asked and found; None when it was not measured."""
        found = figures.get(self.name)
        if found is None:
            return None
        enough = self.least is None or found >= self.least
        few = self.most is None or found <= self.most
        asked = f">= {self.least:g}" if self.least is not None else f"<= {self.most:g}"
        return {"name": self.name, "asked": asked, "found": found, "met": enough and few}


_ALWAYS = (
    Target("ten_of_40_cold_p50_ms", most=50),
    Target("ten_of_40_candidates_per_s", least=100),
    Target("share_of_engine", least=0.85),
    Target("share_of_matrix_limit", least=0.6),
    Target("times_joined", least=5),
    Target("http_difference_largest", most=1e-5),
)
_BY_PRECISION = {
    "fp32": (Target("times_infinity", least=1.7), Target("batch_effect_largest", most=1e-5)),
    "bf16": (
        Target("times_infinity", least=3),
        Target("kendall_tau", least=0.99),
        Target("score_p50_of_infinity", most=0.5),
        Target("batch_effect_largest", most=1e-5),
    ),
    "int8": (Target("times_infinity", least=4), Target("score_p50_of_infinity", most=1 / 3)),
}


def targets(figures: Mapping[str, Any], engine: str) -> list[dict[str, Any]]:
    """Every target of an engine's precision, with what was found."""
    own = next((some for name, some in _BY_PRECISION.items() if name in engine), ())
    judged = [target.judged(figures) for target in (*own, *_ALWAYS)]
    return [one for one in judged if one is not None]


def ratios(results: Results, ceilings: Ceilings) -> dict[str, Any]:
    """Every figure that its rows were measured for."""
    times = {
        name: _paired(results[name]["ours"], results[name]["infinity"])
        for name in RERANK
        if "infinity" in results.get(name, {})
    }
    found: dict[str, Any] = {}
    if times:
        cpu = {name: _cpu_times(results[name]) for name in times}
        found["times_infinity"], found["times_infinity_by_clients"] = min(times.values()), times
        found["cpu_times_infinity"], found["cpu_times_infinity_by_clients"] = min(cpu.values()), cpu
    found |= _single(results.get("single", {})) | _owners(results)
    engine = [one["candidates_per_s"] for one in ceilings["engine"]]
    if "rerank_8_clients" in results:
        found["share_of_engine"] = _median_ratio(
            _rates(results["rerank_8_clients"]["ours"]), engine
        )
    found["share_of_matrix_limit"] = _median_ratio(
        [one["gops"] for one in ceilings["engine"]], [one["gops"] for one in ceilings["products"]]
    )
    return found


def _single(sides: Mapping[str, Sequence[Measured]]) -> dict[str, Any]:
    """One score's median time beside that of whichever of the peer's routes is faster."""
    p50 = {side: statistics.median(one.run.p50_ms for one in runs) for side, runs in sides.items()}
    if not {"infinity", "infinity_embeddings"} <= p50.keys():
        return {}
    ours = p50.pop("ours_score")
    by_route = {side: round(ours / other, 3) for side, other in p50.items()}
    return {"score_p50_of_infinity": max(by_route.values()), "score_p50_by_route": by_route}


def _owners(results: Results) -> dict[str, Any]:
    """What the owners of re-ranking asked for: ten candidates, one client; and long prompts."""
    found: dict[str, Any] = {}
    for name in ("ten_of_40_cold", "ten_of_40_cached", "ten_of_80_cold", "ten_of_80_cached"):
        if name in results:
            p50 = statistics.median(one.run.p50_ms for one in results[name]["ours"])
            found[f"{name}_p50_ms"] = round(p50, 1)
    if "ten_of_40_cold" in results:
        rates = _rates(results["ten_of_40_cold"]["ours"])
        found["ten_of_40_candidates_per_s"] = round(statistics.median(rates), 1)
    for name, other in (
        ("times_joined", "ours_joined"),
        ("times_infinity_long_prompt", "infinity"),
    ):
        if other in results.get("long_prompt", {}):
            sides = results["long_prompt"]
            found[name] = _paired(sides["ours_prompt_once"], sides[other])
    return found


def _rates(runs: Sequence[Measured]) -> list[float]:
    return [one.candidates_per_s for one in runs]


def _paired(ours: Sequence[Measured], theirs: Sequence[Measured]) -> float:
    return _median_ratio(_rates(ours), _rates(theirs))


def _cpu_times(sides: Mapping[str, Sequence[Measured]]) -> float:
    """How much more CPU time the peer takes a candidate; other work moves this less than rates."""
    spent = {
        side: statistics.median(one.server_cpu_s / one.scored for one in runs)
        for side, runs in sides.items()
    }
    return round(spent["infinity"] / spent["ours"], 3)


def _median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median over the rounds of one's rate by the other's in the same round."""
    each = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return round(statistics.median(each), 3)
