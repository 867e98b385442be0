"""Writes what was measured into docs/performance.md: `python -m benchmarks.serving.report`.

Whatever `benchmarks/results/serving-*.json` hold goes between two marks; the words around them are
written by hand.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

PAGE = Path("docs/performance.md")
RESULTS = Path("benchmarks/results")
LONG = "serving-long.json"
BEGIN, END = "<!-- serving: written by benchmarks.serving.report -->", "<!-- /serving -->"

Result = Mapping[str, Any]

FIGURES = {
    "times_infinity": "`/rerank`, times infinity's candidates/s (least of 1, 8, 32 clients)",
    "cpu_times_infinity": "the same in CPU time per candidate",
    "score_p50_of_infinity": "single score, p50 by infinity's faster route",
    "kendall_tau": "Kendall's tau to fp32, 1,000 pairs",
    "kendall_tau_of_ten": "… within requests of ten",
    "score_change_largest": "largest change of a score, 0–1",
    "score_change_mean": "… on average",
    "batch_effect_largest": "largest change by a text's neighbours",
    "http_difference_largest": "largest difference between HTTP and the bare engine",
    "ten_of_40_cold_p50_ms": "ten candidates of 40 tokens, one client, p50 ms",
    "ten_of_40_cached_p50_ms": "… with a prompt asked before",
    "ten_of_80_cold_p50_ms": "ten candidates of 80 tokens, one client, p50 ms",
    "ten_of_80_cached_p50_ms": "… with a prompt asked before",
    "ten_of_40_candidates_per_s": "candidates/s at 40 tokens, one client",
    "share_of_engine": "HTTP by the bare engine, 8 clients",
    "share_of_matrix_limit": "bare engine by the machine's matrix products",
    "times_joined": "400-token prompt, 20 candidates: times the concatenating form",
    "times_infinity_long_prompt": "… times infinity",
}


def main() -> None:
    """Put the tables into the page."""
    page = PAGE.read_text(encoding="utf-8")
    marked = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    text = "\n\n".join(part for part in sections() if part)
    PAGE.write_text(marked.sub(lambda _: f"{BEGIN}\n{text}\n{END}", page), encoding="utf-8")
    typer.echo(f"Wrote {PAGE}")


def sections() -> Iterator[str]:
    """The tables of all engines, of each engine's rows, and of the long run."""
    paths = sorted(path for path in RESULTS.glob("serving-*.json") if path.name != LONG)
    results = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    if results:
        yield figures(list(results.values()))
    for name, result in results.items():
        yield machine(name, result)
        yield rows(result)
    if (RESULTS / LONG).exists():
        yield long_run(json.loads((RESULTS / LONG).read_text(encoding="utf-8")))


def figures(results: Sequence[Result]) -> str:
    """One line a figure, one column an engine; beside a number what it should be, if it is not."""
    body = [[meaning, *(figure(it, name) for it in results)] for name, meaning in FIGURES.items()]
    return table(["figure", *(f"`{result['engine']}`" for result in results)], body)


def figure(result: Result, name: str) -> str:
    """A number as text; a target that is missed is named."""
    flat = {**result, **{f"score_change_{k}": v for k, v in result["score_change"].items()}}
    if flat.get(name) is None:
        return "–"
    missed = [one for one in result["targets"] if one["name"] == name and not one["met"]]
    asked = f" (asked: {missed[0]['asked']})" if missed else ""
    return f"{number(flat[name])}{asked}"


def machine(name: str, result: Result) -> str:
    """What the numbers of one file depend on."""
    facts = result["machine"]
    return (
        f"`{result['engine']}`: {facts['cores']} cores ({', '.join(facts['cpu_flags'])}), load "
        f"{facts['load_before']:.1f} before the start, torch {result['torch']}, peer "
        f"{result['peer']}; median of {result['rounds']} rounds "
        f"([{name}](../benchmarks/results/{name})).{warning(facts)}"
    )


def warning(facts: Mapping[str, Any]) -> str:
    """A word of caution about numbers from a machine that did other work as well."""
    is_busy = facts["load_before"] > facts["cores"] / 2
    said = " **The cores were busy with other work: take CPU time, not rates.**"
    return said if is_busy else ""


def rows(result: Result) -> str:
    """Every side of every row of one engine."""
    keys = ("candidates_per_s", "p50_ms", "p99_ms", "server_cpu_ms_per_reply", "failed")
    body = [
        [f"`{name}`", side, *(number(row[key]) for key in keys)]
        for name, by_side in result["rows"].items()
        for side, row in by_side.items()
    ]
    head = ["row", "side", "candidates/s", "p50 ms", "p99 ms", "CPU ms per reply", "failed"]
    return table(head, body)


def long_run(result: Result) -> str:
    """Overload, swaps, kills and soak, a line each."""
    lines = [f"[{LONG}](../benchmarks/results/{LONG}).{warning(result['machine'])}\n"]
    for name, one in result.get("overload", {}).items():
        lines.append(f"- Overload, {name.replace('_', ' ')}: {overload(one)}")
    if "swaps" in result:
        one = result["swaps"]
        lines.append(
            f"- {one['swaps']} swaps under load, {one['seconds_per_swap']} s each: "
            f"{one['replies']['right']:,} replies right, {one['replies']['failed']} failed, "
            f"{one['replies']['mixed']} mixed; memory {memory(one)}."
        )
    if "kills" in result:
        one = result["kills"]
        lines.append(
            f"- {one['kills']} scoring threads killed: {one['workers_replaced']} replaced, replies "
            f"by status {one['statuses']}, none later than {one['longest_ms']:.0f} ms; requests/s "
            f"{one['requests_per_s_before']} before, {one['requests_per_s_after']} after."
        )
    if "soak" in result:
        one = result["soak"]
        grown = ", ".join(f"{name} × {times}" for name, times in one["growth"].items())
        lines.append(
            f"- Soak of {one['minutes']:g} minutes: {one['requests']:,} requests, {one['failed']} "
            f"failed; last quarter by the second: {grown}."
        )
    return "\n".join(lines)


def overload(one: Result) -> str:
    """What became of the requests."""
    said = [times(f"`{code}`", kind) for code, kind in one["refused"].items()]
    return (
        f"{one['offered_per_s']} requests/s for {one['seconds']:g} s where "
        f"{one['requests_per_s_before']} are served; {times('accepted', one['accepted'])}; refused "
        f"{', '.join(said)}; anything else {one['anything_else'] or 'none'}; memory {memory(one)}; "
        f"a second later {one['requests_per_s_after']} requests/s."
    )


def times(name: str, kind: Result) -> str:
    """How many there were, and how soon they came."""
    if not kind["count"]:
        return f"0 {name}"
    p50, p99 = number(kind["p50_ms"]), number(kind["p99_ms"])
    return f"{kind['count']:,} {name} (p50 {p50} ms, p99 {p99} ms)"


def memory(one: Result) -> str:
    """Before, after, and at its peak."""
    before, after, peak = (one[f"rss_{when}_mb"] for when in ("before", "after", "peak"))
    return f"{before:.0f} → {after:.0f} MB (peak {peak:.0f})"


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float) -> str:
    """Three digits that mean something, thousands with commas, tiny ones as powers of ten."""
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1e}" if 0 < abs(value) < 0.001 else f"{value:.3g}"


if __name__ == "__main__":
    typer.run(main)
