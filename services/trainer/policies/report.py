"""What lies in a policy's folder about its training: numbers, a page for people, and a plot."""

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

from matplotlib.figure import Figure

from services.trainer.policies.page import ReadSample, logged, page
from shared.contracts.policy_report import (
    POLICY_PAGE_FILE,
    POLICY_PROGRESS_FILE,
    POLICY_REPORT_FILE,
    PolicyReport,
)

_COLOURS = {"Reward": "#2f6f9f", "Distance": "#c26b1f", "Loss": "#6b757c"}
_UNITS = {"Reward": "reward", "Distance": "nats, as logged", "Loss": "loss"}


def write_report(stage: Path, report: PolicyReport, history: Sequence[Mapping[str, float]]) -> None:
    """Write `policy_report.json`, `policy_report.html` and `training_progress.png`.

    None of them holds a text that can be read: samples are told by their numbers.

    Args:
        stage: the artifact's folder in the making.
        report: of `evaluate_policy`.
        history: what training logged, each row with its `step`; what is no number is left out.
    """
    rows = [{name: one for name, one in row.items() if isfinite(one)} for row in history]
    whole = report.model_copy(update={"history": rows})
    (stage / POLICY_REPORT_FILE).write_text(whole.model_dump_json(indent=1), encoding="utf-8")
    numbers = [ReadSample(one, whole.rows[one.row]) for one in whole.samples]
    (stage / POLICY_PAGE_FILE).write_text(page(whole, numbers), encoding="utf-8")
    plot_training(stage / POLICY_PROGRESS_FILE, rows)


def plot_training(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Plot reward, distance and loss by step, whatever of them was logged."""
    curves = logged(history)
    figure = Figure(figsize=(4 * max(1, len(curves)), 3.4), layout="constrained")
    for at, (name, curve) in enumerate(curves.items(), start=1):
        axes = figure.add_subplot(1, len(curves), at)
        steps, values = zip(*curve, strict=True)
        axes.plot(steps, values, color=_COLOURS[name])
        axes.set(title=name, xlabel="step", ylabel=_UNITS[name])
    if not curves:
        figure.text(0.5, 0.5, "Training logged nothing", ha="center", va="center")
    figure.savefig(path, dpi=110)
