"""The card's plots: numbers only, one file each, named in `shared.contracts.audit.Plot`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import get_args

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from services.trainer.drawing import as_label, error_bars
from services.trainer.heads import Floats
from shared.contracts.audit import AuditReport, Estimate, Plot, Refitted

PROGRESS: Plot = "training_progress.png"

_MODEL, _PEOPLE, _PALE = "#2f6f9f", "#c26b1f", "#b0b0b0"
_MOST_SLICES = 25
_CURVES: Mapping[Refitted, str] = {
    "model": "Would more labels help?",
    "last_layer": "Would more labels help? (last layers alone)",
}


def plot_audit(folder: Path, report: AuditReport, margins: Floats) -> list[Plot]:
    """Draw what there is to see; the plots of the folder, in the order of the card."""
    wanted: dict[Plot, tuple[bool, Callable[[Axes], None]]] = {
        "accuracy.png": (report.accuracy is not None, lambda axes: _accuracy(axes, report)),
        "margins.png": (len(margins) > 0, lambda axes: _margins(axes, margins)),
        "length.png": (
            report.length is not None and len(report.length.bins) > 0,
            lambda axes: _length(axes, report),
        ),
        "calibration.png": (len(report.calibration) > 0, lambda axes: _calibration(axes, report)),
        "learning.png": (len(report.learning.points) > 0, lambda axes: _learning(axes, report)),
        "slices.png": (len(report.slices) > 0, lambda axes: _slices(axes, report)),
    }
    for name, (has_numbers, draw) in wanted.items():
        if has_numbers:
            _save(folder / name, draw)
    return [name for name in get_args(Plot) if (folder / name).is_file()]


def plot_progress(folder: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Plot training and validation loss by optimizer step, from a Trainer's log history."""

    def draw(axes: Axes) -> None:
        for name, label in (("loss", "training"), ("eval_loss", "validation")):
            rows = [row for row in history if name in row]
            axes.plot([row["step"] for row in rows], [row[name] for row in rows], "o-", label=label)
        axes.set(xlabel="optimizer step", ylabel="loss (nats)", title="Training progress")
        axes.legend()

    _save(folder / PROGRESS, draw)


def _save(path: Path, draw: Callable[[Axes], None]) -> None:
    figure = Figure(figsize=(6, 4), layout="constrained")
    draw(figure.subplots())
    figure.savefig(path, dpi=110)


def _accuracy(axes: Axes, report: AuditReport) -> None:
    if report.accuracy is None:
        return
    named = [("model", report.accuracy.model)]
    named += [(one.name.replace("_", " "), one.accuracy) for one in report.accuracy.baselines]
    values = [one for _, one in named]
    colours = [_MODEL] + [_PALE] * (len(named) - 1)
    axes.bar([name for name, _ in named], [one.value for one in values], color=colours)
    _bars(axes, range(len(named)), values, colour="black", fmt="none")
    axes.axhline(0.5, color="black", linewidth=1, linestyle="--")
    axes.set(ylim=(0, 1), ylabel="agrees with people", title="Against choosing without reading")


def _margins(axes: Axes, margins: Floats) -> None:
    axes.hist(margins, bins=40, color=_MODEL)
    axes.axvline(0, color="black", linewidth=1)
    axes.set(
        xlabel="reward of the chosen minus the rejected response",
        ylabel="held-out comparisons",
        title="Right of the line: the model agrees with people",
    )


def _length(axes: Axes, report: AuditReport) -> None:
    bins = report.length.bins if report.length else []
    longer = [round(one.times_longer, 2) for one in bins]
    people = [one.people_pick_longer for one in bins]
    _bars(axes, longer, people, colour=_PEOPLE, label="people")
    _bars(axes, longer, [one.model_picks_longer for one in bins], colour=_MODEL, label="model")
    axes.axhline(0.5, color="black", linewidth=1, linestyle="--")
    axes.set(
        ylim=(0, 1),
        xscale="log",
        xlabel="how many times longer the longer response is",
        ylabel="picks the longer response",
        title="Length: the model beside people",
    )
    axes.set_xticks(longer, [f"{times:g}" for times in longer])
    axes.minorticks_off()
    axes.legend()


def _calibration(axes: Axes, report: AuditReport) -> None:
    axes.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle="--")
    labels = {"good": "good response", "pairs": "choice between two"}
    for one, colour in zip(report.calibration, (_MODEL, _PEOPLE), strict=False):
        observed = [row.observed for row in one.bins]
        predicted = [row.predicted for row in one.bins]
        _bars(axes, predicted, observed, colour=colour, label=labels[one.of])
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1),
        xlabel="predicted probability",
        ylabel="came true",
        title="Calibration, equally many rows a point",
    )
    axes.legend()


def _learning(axes: Axes, report: AuditReport) -> None:
    points = report.learning.points
    judged = [one.judgements for one in points]
    _bars(axes, judged, [one.accuracy for one in points], colour=_MODEL)
    axes.axhline(0.5, color="black", linewidth=1, linestyle="--")
    axes.set(
        xscale="log",
        xlabel="judgements to learn from",
        ylabel="agrees with people",
        title=_CURVES[report.learning.refitted],
    )
    axes.set_xticks(judged, [str(count) for count in judged])
    axes.minorticks_off()


def _slices(axes: Axes, report: AuditReport) -> None:
    shown = sorted(report.slices, key=lambda one: one.accuracy.value)[:_MOST_SLICES]
    centres = [one.accuracy.value for one in shown]
    spread = error_bars(_ends(one.accuracy) for one in shown)
    axes.errorbar(centres, range(len(shown)), xerr=spread, fmt="o", color=_MODEL, capsize=3)
    names = [f"{as_label(f'{one.name} {one.value}')} ({one.pairs})" for one in shown]
    axes.set_yticks(range(len(shown)), names)
    axes.invert_yaxis()
    if report.accuracy:
        axes.axvline(report.accuracy.model.value, color="black", linewidth=1, linestyle="--")
    axes.set(xlim=(0, 1), xlabel="agrees with people", title="Slices, lowest first (comparisons)")


def _bars(
    axes: Axes,
    places: Sequence[float],
    values: Sequence[Estimate],
    *,
    colour: str,
    label: str | None = None,
    fmt: str = "o-",
) -> None:
    centres = [one.value for one in values]
    axes.errorbar(
        list(places), centres, yerr=error_bars(map(_ends, values)), fmt=fmt, color=colour,
        ecolor=colour, capsize=4, label=label,
    )  # fmt: skip


def _ends(one: Estimate) -> tuple[float, float, float]:
    return one.value, one.low, one.high
