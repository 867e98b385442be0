"""A reward model's `card.md`: what was found in sentences, then tables; never a text of people."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from services.trainer.audit.plots import plot_audit
from services.trainer.heads import Floats
from shared.contracts.audit import (
    AUDIT_FILE,
    CARD_FILE,
    AuditReport,
    Estimate,
    LengthAudit,
    Plot,
    Refitted,
)
from shared.contracts.manifest import RewardManifest

Value = float | int | str | bool | None

_CURVES: Mapping[Refitted, str] = {
    "model": "Learning curve",
    "last_layer": "Learning curve of last layers alone, on the model before training",
}
_ACTIVE = re.compile(r"[\\`*\[\]<>|]")
_MARKS = {"warning": "**Warning.** ", "unknown": "**Not known.** ", "note": "", "good": ""}


def write_card(
    folder: Path, manifest: RewardManifest, report: AuditReport, margins: Floats
) -> None:
    """Write `audit.json`, the plots and `card.md` into an artifact folder.

    Args:
        folder: where to write; a plot of the training may lie there already.
        manifest: the model's, with its metrics.
        report: the audit.
        margins: reward of chosen minus rejected on each held-out comparison, shape (n,).
    """
    plots = plot_audit(folder, report, margins)
    (folder / AUDIT_FILE).write_text(report.model_dump_json(indent=1), encoding="utf-8")
    (folder / CARD_FILE).write_text(card(manifest, report, plots), encoding="utf-8")


def card(manifest: RewardManifest, report: AuditReport, plots: Sequence[Plot]) -> str:
    """The card as Markdown."""
    return "\n".join(
        [
            f"# Reward model ({manifest.kind}, {manifest.mode})\n",
            "## What was found\n",
            *(f"- {_MARKS[one.level]}{_literal(one.text)}" for one in report.findings),
            f"\nIn brackets: 95 % intervals; rows about one prompt count as one. {_basis(report)}",
            f"\nEncoder: {manifest.backbone.name} (`{manifest.backbone.sha256[:12]}`), "
            f"engine {manifest.backbone.engine}. Dataset `{manifest.dataset_snapshot}`, "
            f"code {manifest.code_version}, made {manifest.created_at:%Y-%m-%d %H:%M} UTC.",
            *_sections(report),
            *_table("Metrics", ("metric", "value"), _named(_unsliced(manifest.metrics))),
            *_table("Parameters", ("parameter", "value"), _given(manifest.parameters)),
            "",
            *(f"![{Path(plot).stem.replace('_', ' ')}]({plot})\n" for plot in plots),
        ]
    )


def _basis(report: AuditReport) -> str:
    what = f"{report.pairs} comparisons on {report.groups} prompts and {report.rated} ratings"
    drawn = f"; controls score a sample of at most {report.control_rows} of them"
    more = drawn if max(report.pairs, report.rated) > report.control_rows else ""
    return f"Held out were {what}{more}."


def _sections(report: AuditReport) -> Iterator[str]:
    yield from _accuracies(report)
    if report.length:
        yield from _length(report.length)
    yield from _controls(report)
    yield from _table(
        "Changes that should not matter",
        ("change of one response", "mean shift", "largest shift", "comparisons turned"),
        [
            (_words(one.change), one.mean_shift, one.largest_shift, one.flips)
            for one in report.template
        ],
    )
    yield from _calibrations(report)
    yield from _ratings(report)
    yield from _table(
        _CURVES[report.learning.refitted],
        ("judgements", "agrees with people"),
        [(one.judgements, one.accuracy) for one in report.learning.points],
    )
    yield from _people(report)
    yield from _table(
        "Worst mistakes",
        ("rows", "reward of the chosen minus the rejected response"),
        [(" ".join(one.row_ids[:4]), one.margin) for one in report.mistakes],
    )


def _accuracies(report: AuditReport) -> list[str]:
    if report.accuracy is None:
        return []
    rows = [(_words(one.name), one.accuracy, one.gain) for one in report.accuracy.baselines]
    headings = ("", "agrees with people", "the model's gain over it")
    return _table("Accuracy", headings, [("model", report.accuracy.model, ""), *rows])


def _length(length: LengthAudit) -> list[str]:
    chosen, rated = length.reward_and_length, length.reward_and_length_given_rating
    rows: list[tuple[str, Estimate | Value]] = [
        ("verdict", _words(length.verdict)),
        ("comparisons of different length", length.pairs),
        ("people pick the longer", length.people_pick_longer),
        ("the model picks the longer", length.model_picks_longer),
        ("people pick the one twice as long at equal reward", length.longer_at_equal_reward),
        ("p that length is overvalued by chance", length.p_overvalued),
        ("correlation of reward and length, given the choice", chosen.r if chosen else None),
        ("the same given the rating", rated.r if rated else None),
        ("comparisons of about equal length", length.matched_pairs),
        ("agrees with people on them", length.matched_accuracy),
    ]
    return _table("Length", ("", "value"), rows)


def _controls(report: AuditReport) -> Iterator[str]:
    if prompt := report.prompt:
        yield from _table(
            "Prompt",
            (f"{prompt.pairs} comparisons", "value"),
            [
                ("as they are", prompt.accuracy),
                ("with an empty prompt", prompt.empty_prompt),
                ("with the prompt of another", prompt.other_prompt),
                ("what the prompt brings", prompt.from_prompt),
                ("its own chosen response above a foreign one", prompt.own_response_wins),
            ],
        )
    if control := report.ratings:
        yield from _table(
            "Correlation of reward and rating",
            (f"{control.rows} ratings", "r"),
            [
                ("as they are", control.r),
                ("with the prompt of another", control.other_prompt),
                ("with the response of another", control.other_response),
            ],
        )
    if position := report.position:
        yield from _table(
            "Order of showing",
            (f"{position.pairs} comparisons", "value"),
            [
                ("people choose the one shown first", position.people_pick_first),
                ("the model picks it", position.model_picks_first),
                ("accuracy where it was chosen", position.accuracy_first_chosen),
                ("accuracy where the other was chosen", position.accuracy_second_chosen),
            ],
        )


def _calibrations(report: AuditReport) -> list[str]:
    headings = ("probability", "rows", "error (ECE)", "by chance", "p", "Brier", "constant's Brier")
    rows = [
        (one.of, one.rows, one.ece, one.ece_if_calibrated, one.p, one.brier, one.brier_constant)
        for one in report.calibration
    ]
    return _table("Calibration", headings, rows)


def _ratings(report: AuditReport) -> Iterator[str]:
    yield from _table(
        "Ratings as numbers from 0 to 1",
        ("scale", "rows", "Pearson r", "mean squared error", "of the mean rating"),
        [
            (one.scale, one.rows, one.pearson, one.mse, one.mse_constant)
            for one in report.regression
        ],
    )
    yield from _table(
        "Good against bad",
        ("on", "class", "rows", "precision", "recall", "F1"),
        [
            (_words(one.on), label.label, label.rows, label.precision, label.recall, label.f1)
            for one in report.classification
            for label in one.classes
        ],
    )


def _people(report: AuditReport) -> Iterator[str]:
    yield from _table(
        "Slices",
        ("slice", "value", "comparisons", "agrees with people", "against the rest", "adjusted p"),
        [
            (one.name, one.value, one.pairs, one.accuracy, one.difference, one.p_adjusted)
            for one in report.slices
        ],
    )
    if report.slices_not_named:
        yield f"\nNot shown for too few comparisons: {report.slices_not_named}."
    yield from _table(
        "Gaps between slices",
        ("slice", "best", "worst", "gap", "gap by chance", "p"),
        [
            (one.name, one.best, one.worst, one.gap, one.gap_if_equal, one.p)
            for one in report.fairness
        ],
    )
    yield from _table(
        "Whom the feedback represents",
        ("slice", "value", "of the population", "of the feedback", "too little"),
        [
            (one.name, one.value, one.population, one.feedback, one.is_underrepresented)
            for one in report.representation
        ],
    )


def _table(
    title: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[Estimate | Value]],
) -> list[str]:
    if not rows:
        return []
    lines = [" | ".join(map(_cell, row)) for row in rows]
    ruled = ["| " + " | ".join(headings) + " |", "|---" * len(headings) + "|"]
    return [f"\n## {title}\n", *ruled, *(f"| {line} |" for line in lines)]


def _unsliced(metrics: Mapping[str, Value]) -> dict[str, Value]:
    """The metrics without those of slices, which have a table of their own."""
    return {name: value for name, value in metrics.items() if not name.startswith("slice/")}


def _given(parameters: Mapping[str, Value]) -> list[tuple[str, Value]]:
    return [(name, "unset" if one is None else one) for name, one in _named(parameters)]


def _named(values: Mapping[str, Value]) -> list[tuple[str, Value]]:
    return sorted(values.items())


def _cell(value: Estimate | Value) -> str:
    if value is None:
        return "not known"
    if isinstance(value, Estimate):
        return f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    return _literal(str(value))


def _literal(text: str) -> str:
    """Text on one line that Markdown shows as it is: names of slices are what clients sent."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return _ACTIVE.sub(r"\\\g<0>", line)


def _words(name: str) -> str:
    return name.replace("_", " ")
