"""An evaluation as pictures: accuracy per subset, and what differs between the contestants."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from itertools import cycle
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from services.trainer.drawing import as_label, error_bars
from services.trainer.evaluation.cases import ALL
from services.trainer.evaluation.figures import CHANCE, Difference, Evaluated, Figures, Standing
from shared.errors import ConfigError

ACCURACY_PLOT, DIFFERENCES_PLOT = "accuracy.png", "differences.png"
_MODELS = ("#2f6f9f", "#c06030", "#3f8f5f", "#8060a0", "#a09030")
_BASELINES = ("#909090", "#b4b4b4", "#d0d0d0")
_MOST_SUBSETS = 24  # a picture of a thousand is none, and too large to be written


def write_plots(folder: Path, evaluated: Evaluated) -> list[Path]:
    """Write the plots into a folder, which is made when it is missing; their paths.

    Raises:
        ConfigError: the folder cannot be written.
    """
    names = [ALL, *_largest(evaluated.standings[0].subsets)]
    drawn = {ACCURACY_PLOT: plot_accuracy(evaluated.standings, names)}
    differences = [one for one in evaluated.differences if one.subset in names]
    if differences:
        drawn[DIFFERENCES_PLOT] = plot_differences(differences)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in drawn.items():
            figure.savefig(folder / name, dpi=120)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written ({error.strerror}).") from None
    return [folder / name for name in drawn]


def plot_accuracy(standings: Sequence[Standing], names: Sequence[str]) -> Figure:
    """Bars of best-of-n accuracy with 95 % intervals, chance as a line across each subset."""
    drawn = [one for one in standings if one.contestant.name != CHANCE]
    figure = Figure(figsize=(max(5.0, 1.4 * len(names) + 2), 4), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(drawn)
    colours = {True: cycle(_MODELS), False: cycle(_BASELINES)}
    for place, one in enumerate(drawn):
        found = [_of(one, name) for name in names]
        at = [x + (place - (len(drawn) - 1) / 2) * width for x in range(len(names))]
        colour = next(colours[one.contestant.is_model])
        _bars(axes, at, found, label=as_label(one.contestant.name), width=width, colour=colour)
    _mark_chance(axes, standings, names)
    labels = [as_label(name) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=30 if len(names) > 3 else 0)
    axes.set(ylim=(0, 1), ylabel="best-of-n accuracy", title="A right response has the top reward")
    axes.legend(fontsize="small")
    return figure


def plot_differences(differences: Sequence[Difference]) -> Figure:
    """Each difference in accuracy with its bounds; right of the line the first one is better."""
    figure = Figure(figsize=(7, 1.5 + 0.3 * len(differences)), layout="constrained")
    axes = figure.subplots()
    for place, one in enumerate(differences):
        found = one.comparison
        ends = error_bars([(found.difference, found.low, found.high)])
        axes.errorbar([found.difference], [place], xerr=ends, fmt="o", color=_MODELS[0], capsize=3)
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(range(len(differences)), [_named(one) for one in differences])
    axes.invert_yaxis()
    axes.set(xlabel="difference in best-of-n accuracy, bounds one-sided at 95 %")
    return figure


def _largest(subsets: Mapping[str, Figures]) -> list[str]:
    """The names of the subsets with the most cases, in the order of the names."""
    by_size = sorted(subsets, key=lambda name: -subsets[name].cases)
    return sorted(by_size[:_MOST_SUBSETS])


def _bars(
    axes: Axes,
    at: Sequence[float],
    found: Sequence[Figures],
    *,
    label: str,
    width: float,
    colour: str,
) -> None:
    means = [one.best_of_n.mean for one in found]
    spread = error_bars(astuple(one.best_of_n) for one in found)
    axes.bar(at, means, width, label=label, color=colour)
    axes.errorbar(at, means, yerr=spread, fmt="none", color="black", linewidth=1, capsize=2)


def _mark_chance(axes: Axes, standings: Sequence[Standing], names: Sequence[str]) -> None:
    by_chance = next(one for one in standings if one.contestant.name == CHANCE)
    for x, name in enumerate(names):
        level = _of(by_chance, name).best_of_n.mean
        axes.hlines(level, x - 0.45, x + 0.45, color="black", linestyle="--", linewidth=1)


def _of(standing: Standing, name: str) -> Figures:
    return standing.overall if name == ALL else standing.subsets[name]


def _named(one: Difference) -> str:
    where = "" if one.subset == ALL else f", {as_label(one.subset)}"
    return f"{as_label(one.left)} − {as_label(one.right)}{where}"
