"""A reward model's `card.md` and plots: numbers only, never a text that people wrote."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from services.trainer.trained import Evaluation
from shared.contracts.manifest import RewardManifest

CARD_FILE = "card.md"
MARGINS_PLOT = "margins.png"
ACCURACY_PLOT = "accuracy.png"
PROGRESS_PLOT = "training_progress.png"

_FEW = 200


def write_card(folder: Path, manifest: RewardManifest, evaluation: Evaluation) -> None:
    """Write the card, and the two plots when there are held-out comparisons."""
    plots = []
    if len(evaluation.test_margins):
        plots = [MARGINS_PLOT, ACCURACY_PLOT]
        _plot_margins(folder / MARGINS_PLOT, evaluation)
        _plot_accuracy(folder / ACCURACY_PLOT, evaluation)
    if (folder / PROGRESS_PLOT).is_file():
        plots.append(PROGRESS_PLOT)
    (folder / CARD_FILE).write_text(card(manifest, plots), encoding="utf-8")


def card(manifest: RewardManifest, plots: list[str]) -> str:
    """The model card as Markdown."""
    metrics = "\n".join(
        f"| {name} | {_number(value)} |" for name, value in sorted(manifest.metrics.items())
    )
    chosen = "\n".join(
        f"| {name} | {_number(value)} |" for name, value in sorted(manifest.parameters.items())
    )
    return "\n".join(
        [
            f"# Reward model ({manifest.kind}, {manifest.mode})\n",
            _headline(manifest.metrics),
            f"\nEncoder: {manifest.backbone.name} (`{manifest.backbone.sha256[:12]}`), "
            f"engine {manifest.backbone.engine}. Dataset `{manifest.dataset_snapshot}`, "
            f"code {manifest.code_version}, made {manifest.created_at:%Y-%m-%d %H:%M} UTC.\n",
            "## Measured on held-out prompts\n\n| metric | value |\n|---|---|\n" + metrics,
            "\n## Parameters\n\n| parameter | value |\n|---|---|\n" + chosen,
            *(f"\n![{Path(plot).stem}]({plot})" for plot in plots),
            "",
        ]
    )


def plot_progress(folder: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Plot training and validation loss by optimizer step, from a Trainer's log history."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, label in (("loss", "training"), ("eval_loss", "validation")):
        rows = [row for row in history if name in row]
        axes.plot([row["step"] for row in rows], [row[name] for row in rows], "o-", label=label)
    axes.set(xlabel="optimizer step", ylabel="loss (nats)", title="Training progress")
    axes.legend()
    figure.savefig(folder / PROGRESS_PLOT, dpi=120)


def _headline(metrics: dict[str, float | int | str | None]) -> str:
    accuracy, pairs = metrics.get("pair_accuracy"), metrics.get("test_pairs", 0)
    if accuracy is None:
        return "No comparison was held out, so pair accuracy is not known."
    interval = (
        f"{_number(metrics['pair_accuracy_low'])} to {_number(metrics['pair_accuracy_high'])}"
    )
    few = (
        f" With fewer than {_FEW} pairs only the interval means something."
        if _is_few(pairs)
        else ""
    )
    return (
        f"Agrees with people on {_number(accuracy)} of {pairs} held-out comparisons "
        f"(95 % interval {interval}); a fitted length-only model on "
        f"{_number(metrics['length_accuracy'])}.{few}"
    )


def _is_few(pairs: float | int | str | None) -> bool:
    return isinstance(pairs, int) and pairs < _FEW


def _number(value: float | int | str | bool | None) -> str:
    if value is None:
        return "not known"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _plot_margins(path: Path, evaluation: Evaluation) -> None:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.hist(evaluation.test_margins, bins=40, color="#2f6f9f")
    axes.axvline(0, color="black", linewidth=1)
    axes.set(
        xlabel="reward of the chosen minus the rejected response",
        ylabel="held-out comparisons",
        title="Right of the line: the model agrees with people",
    )
    figure.savefig(path, dpi=120)


def _plot_accuracy(path: Path, evaluation: Evaluation) -> None:
    metrics = evaluation.metrics
    names = {"pair_accuracy": "model", "length_accuracy": "length, fitted", "longer_wins": "longer"}
    values = [float(metrics[name] or 0) for name in names]
    centre, low, high = (
        float(metrics[f"pair_accuracy{end}"] or 0) for end in ("", "_low", "_high")
    )
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    axes.bar(list(names.values()), values, color=["#2f6f9f", "#b0b0b0", "#d0d0d0"])
    axes.errorbar([0], [centre], yerr=[[centre - low], [high - centre]], color="black", capsize=4)
    axes.axhline(0.5, color="black", linewidth=1, linestyle="--")
    axes.set(ylim=(0, 1), ylabel="held-out pair accuracy", title="Against the baselines")
    figure.savefig(path, dpi=120)
