"""The report of a policy as one page that needs nothing else, and runs no script.

Everything that came from people or models is escaped; the page's own policy forbids what is left.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from services.trainer.heads import Floats
from services.trainer.policies.page_plots import Line, histogram, lines, scatter
from services.trainer.policies.page_style import STYLE
from shared.contracts.audit import Estimate
from shared.contracts.policy_report import Change, Mean, Measure, PolicyReport, Row, Sample

_NAMES: Mapping[Measure, str] = {
    "reward": "Reward",
    "gold": "Second reward model",
    "tokens": "Tokens",
    "words": "Words",
    "ended": "Ended by itself",
    "repetition": "Repeated within a response",
    "distinct_1": "Distinct tokens",
    "distinct_2": "Distinct pairs of tokens",
    "entropy": "Unsure of the next token (nats)",
}
_ORDER = [*_NAMES, "log_tokens"]
_SHARES = ("ended", "repetition", "distinct_1", "distinct_2")
_WHY = {
    "gained_most": "gained most reward",
    "lost_most": "lost most reward",
    "drawn": "drawn at random",
}
_CODES = {
    "gold_gap": "Not borne out",
    "gold_unconfirmed": "Not confirmed",
    "kl_budget": "Far away",
    "length_drift": "Other length",
    "repetition_drift": "Repeats itself",
    "diversity_collapse": "All alike",
    "entropy_collapse": "Never unsure",
    "ended_falls": "Does not end",
    "constraint_broken": "Breaks a demand",
}
_LEVEL = 0.05


@dataclass(frozen=True)
class ReadSample:
    """A sample with its texts; None where the prompt is no longer there, or nobody may read it."""

    sample: Sample
    row: Row
    prompt: str | None = None
    before: str = ""
    after: str = ""


def page(report: PolicyReport, samples: Sequence[ReadSample], *, title: str = "") -> str:
    """The whole page."""
    named = title or "Policy report"
    body = "".join(
        [
            f'<header><p class="kicker">{escape(named)}</p><h1>{escape(headline(report))}</h1>',
            f"<p>{escape(_lede(report))}</p></header>",
            *_alarms(report),
            f'<div class="tiles">{"".join(_tiles(report))}</div>',
            "<h2>Before and after</h2>",
            _table(report),
            "<h2>In pictures</h2>",
            f'<div class="plots">{"".join(_plots(report))}</div>',
            "<h2>Samples</h2>",
            *_samples(samples),
            _footer(report),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(named)}</title><style>{STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def headline(report: PolicyReport) -> str:
    """What the report says, in one sentence."""
    if any(one.severity == "blocks" for one in report.alarms):
        return "The improvement is suspicious: read the samples before anything else"
    by = report.judged_by
    if by is None:
        return "No reward model judged this policy"
    change, what = report.changes[by], _NAMES[by].lower()
    if change.p >= _LEVEL:
        return f"No change of the {what} can be shown"
    doubts = ", with doubts" if report.alarms else ""
    return f"The {what} is surely {'higher' if change.value > 0 else 'lower'} than before{doubts}"


def _lede(report: PolicyReport) -> str:
    asked = ", ".join(
        one.name if one.weight == 1 else f"{one.name} × {one.weight:g}" for one in report.rewards
    )
    judged = f" Judged by {asked}." if asked else ""
    return (
        f"Both policies wrote one response to each of {len(report.rows)} prompts that training "
        f"never saw, at temperature {report.temperature:g}, with at most "
        f"{report.max_response_tokens} tokens.{judged}"
    )


def _alarms(report: PolicyReport) -> Iterator[str]:
    for one in report.alarms:
        yield (
            f'<div class="alarm {one.severity}"><b>{_CODES[one.code]}</b> '
            f'<span class="soft">{one.code}, {one.severity}</span><br>{escape(one.detail)}</div>'
        )
    if not report.alarms:
        second = "the second reward model, " if "gold" in report.changes else ""
        yield f'<div class="alarm none"><b>No alarm</b><br>Looked at were {second}distance, '
        yield "length, repetition, variety and how many responses end.</div>"
    if "gold" not in report.changes:
        yield '<p class="soft">There is no second reward model, so nothing here shows whether '
        yield "people would find the responses better too: read samples.</p>"


def _tiles(report: PolicyReport) -> Iterator[str]:
    judges: tuple[tuple[Measure, str, Estimate | None], ...] = (
        ("reward", "by reward", report.win_rate),
        ("gold", "by the second model", report.gold_win_rate),
    )
    for by, told, won in judges:
        if won is not None:
            change = report.changes[by]
            yield _tile(_NAMES[by], _signed(change.value), _interval(change))
            yield _tile(f"Wins {told}", f"{won.value:.0%}", f"{won.low:.0%} to {won.high:.0%}")
    if report.kl is not None:
        root = float(np.sqrt(max(0.0, report.kl.value)))
        budget = f" · budget {report.kl_budget:g}" if report.kl_budget else ""
        yield _tile("Distance, nats", f"{report.kl.value:.1f}", f"√ {root:.1f}{budget}")
        if "reward" in report.changes and root > 0:
            each = _signed(report.changes["reward"].value / root)
            yield _tile("Reward per √nat", each, "falls when overdone")


def _tile(name: str, value: str, more: str) -> str:
    return (
        f'<div class="tile"><span>{escape(name)}</span><b>{escape(value)}</b>'
        f"<span>{escape(more)}</span></div>"
    )


@dataclass(frozen=True)
class TableRow:
    """One measure as it is shown; the errors are those of the means, the mark `up` or `down`."""

    name: str
    before: str
    before_error: str
    after: str
    after_error: str
    change: str
    interval: str
    mark: str


def table_rows(report: PolicyReport) -> list[TableRow]:
    """Every measure before and after, rewards first; single rewards where there are several."""
    rows = [
        _table_row(_NAMES[key], (report.before.means[key], report.after.means[key]), change, key)
        for key, change in sorted(report.changes.items(), key=lambda one: _ORDER.index(one[0]))
        if key in _NAMES
    ]
    parts = [
        _table_row(name, (report.before.parts[name], report.after.parts[name]), change, "reward")
        for name, change in report.part_changes.items()
        if len(report.part_changes) > 1
    ]
    return [*rows[:1], *parts, *rows[1:]]


def _table_row(name: str, means: tuple[Mean, Mean], change: Change, measure: Measure) -> TableRow:
    form = ".1%" if measure in _SHARES else ".1f" if measure in ("tokens", "words") else ".2f"
    mark = ""
    if measure in ("reward", "gold") and change.p < _LEVEL:
        mark = "up" if change.value > 0 else "down"
    before, after = ((_signed(one.value, form), f"± {one.error:{form}}") for one in means)
    moved, interval = _signed(change.value, "+" + form), _interval(change, "+" + form)
    return TableRow(name, *before, *after, moved, interval, mark)


def _table(report: PolicyReport) -> str:
    heads = "".join(f"<th>{one}</th>" for one in ("", "Before", "After", "Change (95 %)"))
    body = "".join(
        f"<tr><td>{escape(one.name)}</td>"
        f'<td class="mean">{one.before} <small>{one.before_error}</small></td>'
        f'<td class="mean">{one.after} <small>{one.after_error}</small></td>'
        f'<td class="change {one.mark}">{one.change} <small>{one.interval}</small></td></tr>'
        for one in table_rows(report)
    )
    return f'<div class="scroll"><table><tr>{heads}</tr>{body}</table></div>'


def _signed(value: float, form: str = "+.2f") -> str:
    return f"{value:{form}}".replace("-", "−")


def _interval(change: Change, form: str = "+.2f") -> str:
    return f"{_signed(change.low, form)} to {_signed(change.high, form)}"


def _plots(report: PolicyReport) -> Iterator[str]:
    by = report.judged_by
    if by is not None:
        yield histogram(f"{_NAMES[by]} of responses", *_columns(report, by), xlabel="reward")
    if {"reward", "gold"} <= report.changes.keys():
        (first, second), (third, fourth) = _columns(report, "reward"), _columns(report, "gold")
        yield scatter(
            "Is the gain borne out? One point a prompt", second - first, fourth - third,
            xlabel="gain of the reward", ylabel="of the second model",
        )  # fmt: skip
    yield histogram("Length", *_columns(report, "tokens"), xlabel="tokens")
    yield from progress_plots(report.history)


def _columns(report: PolicyReport, name: Measure) -> tuple[Floats, Floats]:
    first, second = (
        np.array([getattr(getattr(row, side), name) for row in report.rows], dtype=np.float64)
        for side in ("before", "after")
    )
    return first, second


def progress_plots(history: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """What training logged: reward, distance, loss, and reward over the root of the distance."""
    colours = {"Reward": "after", "Distance": "gold", "Loss": "before"}
    for name, curve in logged(history).items():
        line = Line(name, colours[name], *zip(*curve, strict=True))
        yield lines(f"{name} in training", [line], xlabel="step", ylabel=name.lower())
    both = [(row["kl"], row["reward"]) for row in history if row.keys() >= {"kl", "reward"}]
    if len(both) > 2:
        roots = [float(np.sqrt(max(0.0, kl))) for kl, _ in both]
        line = Line("reward", "after", roots, [reward for _, reward in both])
        yield lines("Reward against distance", [line], xlabel="√ of the distance", ylabel="reward")


_LOGGED = {
    "Reward": ("reward", "rewards/margins"),
    "Distance": ("kl", "objective/kl"),
    "Loss": ("loss", "policy_loss"),
}


def logged(history: Sequence[Mapping[str, float]]) -> dict[str, list[tuple[float, float]]]:
    """By what it is, (step, value) of what training logged at two steps at least."""
    found = {}
    for name, keys in _LOGGED.items():
        key = next((key for key in keys if any(key in row for row in history)), None)
        rows = [
            (float(row.get("step", at)), row[key])
            for at, row in enumerate(history)
            if key is not None and key in row
        ]
        if len(rows) > 1:
            found[name] = rows
    return found


def _samples(samples: Sequence[ReadSample]) -> Iterator[str]:
    if samples and not any(one.prompt is not None for one in samples):
        yield '<p class="soft">Texts are not in this file: <code>heed policy report VERSION '
        yield "--html FILE</code> writes it with them, for who may read them.</p>"
    for one in samples:
        yield f'<article class="sample"><h3>{_WHY[one.sample.why]}</h3>'
        if one.prompt is not None:
            yield f'<p class="prompt">{escape(one.prompt)}</p>'
        yield '<div class="sides">'
        for side, text in (("before", one.before), ("after", one.after)):
            yield f'<div class="side {side}"><h4>{side} · {_judged(one.row, side)}</h4>'
            said = escape(text) or '<span class="soft">(nothing)</span>'
            yield f'<p class="said">{said}</p></div>' if one.prompt is not None else "</div>"
        yield "</div></article>"


def _judged(row: Row, side: str) -> str:
    measured = row.before if side == "before" else row.after
    told = [f"{measured.tokens} tokens"]
    if measured.reward is not None:
        told.insert(0, f"reward {_signed(measured.reward)}")
    if measured.gold is not None:
        told.insert(1, f"second model {_signed(measured.gold)}")
    return escape(" · ".join(told))


def _footer(report: PolicyReport) -> str:
    return (
        "<footer>Behind ± is the standard error; intervals are at 95 %, paired over prompts. "
        "Distance is the divergence from the policy before, summed over the tokens of a response. "
        "Distinct tokens are counted over equally long beginnings of both responses. "
        f"Seed {report.seed}.</footer>"
    )
