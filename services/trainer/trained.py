"""What every reward recipe hands back, and how it becomes an artifact folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.trainer.audit.auditing import Auditing, audit_model
from services.trainer.audit.held_out import Compared, Rewards
from services.trainer.audit.learning import Refit
from services.trainer.audit.slices import Population, slice_metrics
from services.trainer.baselines import fitted_length_margins
from services.trainer.examples import RatedResponse, RewardDataset
from services.trainer.heads import Floats
from services.trainer.judging import held_out_comparisons
from services.trainer.likelihood.thresholds import unit_means
from services.trainer.reward_metrics import Metrics, pair_metrics, rated_metrics
from services.trainer.self_knowledge import coverage_metrics, outside_metrics
from shared.contracts.audit import AuditReport, Refitted
from shared.contracts.manifest import RewardManifest
from shared.ml.scorer import Pair, Scorer, Scores

Progress = Callable[[float, str, dict[str, float]], None]


@dataclass(frozen=True)
class TrainedReward:
    """A finished reward model.

    Attributes:
        manifest: as signed and stored.
        metrics: held-out metrics, the same as in the manifest.
        folder: the artifact folder.
        test_margins: raw reward of chosen minus rejected on each of the dataset's test pairs, in
            their order, for paired comparisons with another model.
        length_margins: the same of the fitted length-only baseline.
    """

    manifest: RewardManifest
    metrics: Metrics
    folder: Path
    test_margins: Floats
    length_margins: Floats


@dataclass(frozen=True)
class Evaluation:
    """Held-out results of a scorer before it is stored, and its audit."""

    metrics: Metrics
    test_margins: Floats
    length_margins: Floats
    audit: AuditReport


def evaluate(
    scorer: Scorer,
    dataset: RewardDataset,
    *,
    good_rating: float,
    recipe: Metrics | None = None,
    refit: Refit | None = None,
    refitted: Refitted = "model",
    population: Population | None = None,
) -> Evaluation:
    """Held-out metrics and the audit of a scorer, beside the length-only baseline.

    The metrics hold what the recipe measured, the counts, and the accuracy of every slice.

    Args:
        scorer: the model.
        dataset: what it was trained on, and what was held out.
        good_rating: a rating counts as good from here on.
        recipe: what the recipe itself measured.
        refit: trains a model on a part of the dataset, where that is cheap.
        refitted: what `refit` trains again.
        population: shares of groups that the feedback should mirror.
    """
    measured = recipe or {}
    if "unit_cut_1" in measured:
        measured = {**measured, **unit_means(dataset.train_rated)}
    asked = Auditing(good_rating, refit, refitted, measured, population or {})
    pairs, rated = dataset.test_pairs, dataset.test_rated
    scores, rewards = _rated_scores(scorer, rated), Rewards(scorer)
    rewards.know([Pair(one.prompt, one.response) for one in rated], scores.reward)
    margins = Compared.of(pairs, rewards).margins
    length = fitted_length_margins(dataset.train_pairs, dataset.train_rated, pairs)
    report = _audit(rewards, dataset, asked, scores=scores, length_margins=length)
    counts: Metrics = {
        "train_pairs": len(dataset.train_pairs),
        "train_rated": len(dataset.train_rated),
    }
    metrics = (
        asked.recipe
        | counts
        | pair_metrics(margins, pairs, length_margins=length)
        | rated_metrics(scores, rated, good_rating=asked.good_rating)
        | _predicted(report)
        | slice_metrics(report.slices)
        | coverage_metrics(scorer.manifest, dataset, rewards.of, good_rating=asked.good_rating)
        | outside_metrics(scorer, dataset)
        | {"length_verdict": report.length.verdict if report.length else None}
    )
    return Evaluation(metrics, margins, length, report)


def _rated_scores(scorer: Scorer, rated: Sequence[RatedResponse]) -> Scores:
    """Scores of rated responses; one that several people rated is read once."""
    places: dict[Pair, int] = {}
    rows = [places.setdefault(Pair(one.prompt, one.response), len(places)) for one in rated]
    return scorer.score(list(places)).take(np.array(rows, dtype=np.int64))


def _predicted(report: AuditReport) -> Metrics:
    """How the rating to expect of a person follows held-out ratings, all scales together."""
    found: Metrics = {}
    for part in report.regression:
        if part.scale == "all":
            found["predicted_rating_correlation"] = part.pearson.value if part.pearson else None
            found["predicted_rating_mse"] = part.mse.value
    return found


def _audit(
    rewards: Rewards,
    dataset: RewardDataset,
    asked: Auditing,
    *,
    scores: Scores,
    length_margins: Floats,
) -> AuditReport:
    """The audit, on held-out ratings matched across prompts where there are few comparisons."""
    comparisons = held_out_comparisons(dataset)
    if comparisons is not dataset.test_pairs:
        length_margins = fitted_length_margins(
            dataset.train_pairs, dataset.train_rated, comparisons
        )
    return audit_model(
        dataset, comparisons, rewards, asked, scores=scores, length_margins=length_margins
    )
