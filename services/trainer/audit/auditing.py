"""The audit of a reward model before it is stored, in one call."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from services.trainer.audit.calibration import audit_calibration
from services.trainer.audit.controls import (
    CONTROL_ROWS,
    audit_mixed_ratings,
    audit_prompt,
    audit_template,
)
from services.trainer.audit.findings import findings
from services.trainer.audit.held_out import SEED, Compared, Rated, Rewards
from services.trainer.audit.intervals import mean_difference, share
from services.trainer.audit.learning import Refit, learning_curve
from services.trainer.audit.length import audit_length
from services.trainer.audit.mistakes import worst_mistakes
from services.trainer.audit.position import audit_position
from services.trainer.audit.ratings import audit_classes, audit_regression
from services.trainer.audit.slices import (
    Population,
    audit_fairness,
    audit_representation,
    audit_slices,
)
from services.trainer.examples import PreferencePair, RewardDataset
from services.trainer.heads import Floats
from services.trainer.reward_metrics import Metrics, hits
from shared.contracts.audit import (
    CALIBRATED_ON,
    PLAIN_MARKS,
    Accuracy,
    AuditReport,
    Baseline,
    BaselineName,
    CalibratedOn,
    Refitted,
)
from shared.ml.scorer import Scores


@dataclass(frozen=True)
class Auditing:
    """What an audit is told beside the model and the data.

    Attributes:
        good_rating: a rating counts as good from here on.
        refit: trains a model on a part of the feedback; None where that takes long.
        refitted: what `refit` trains again.
        recipe: what the recipe itself measured.
        population: shares of groups that the feedback should mirror.
        seed: of every sample and bootstrap.
    """

    good_rating: float
    refit: Refit | None = None
    refitted: Refitted = "model"
    recipe: Metrics = field(default_factory=dict)
    population: Population = field(default_factory=dict)
    seed: int = SEED


def audit_model(
    dataset: RewardDataset,
    comparisons: Sequence[PreferencePair],
    rewards: Rewards,
    asked: Auditing,
    *,
    scores: Scores,
    length_margins: Floats,
) -> AuditReport:
    """Everything that the held-out rows say of a model, and the findings in sentences.

    Args:
        dataset: what it was trained on and what was held out.
        comparisons: held-out comparisons, or held-out ratings matched across prompts.
        rewards: the model, with what it has scored already.
        asked: what to measure by.
        scores: of the held-out rated responses.
        length_margins: of the fitted length-only reward on the comparisons.
    """
    seed = asked.seed
    compared = Compared.of(comparisons, rewards)
    rated = Rated(dataset.test_rated, scores)
    slices, unnamed = audit_slices(compared)
    is_matched = len(compared) > 0 and comparisons is not dataset.test_pairs
    where = "matched_ratings" if is_matched else "comparisons"
    report = AuditReport(
        seed=seed,
        compared_on=where if len(compared) else "nothing",
        pairs=len(compared),
        groups=len(set(compared.groups)),
        rated=len(rated),
        control_rows=CONTROL_ROWS,
        findings=[],
        accuracy=_accuracy(compared, length_margins) if len(compared) else None,
        length=audit_length(compared, rated, seed=seed),
        prompt=None if is_matched else audit_prompt(compared, rewards, seed=seed),
        ratings=audit_mixed_ratings(rated, rewards, seed=seed),
        position=audit_position(dataset.train_pairs, compared),
        template=audit_template(compared, rewards, seed=seed),
        calibration=audit_calibration(compared, rated, good_rating=asked.good_rating, seed=seed),
        calibrated_on=cast("CalibratedOn | None", asked.recipe.get(CALIBRATED_ON)),
        has_plain_marks=asked.recipe.get(PLAIN_MARKS) == "yes",
        learning=learning_curve(asked.refit, dataset, compared, seed=seed, refitted=asked.refitted),
        regression=audit_regression(rated, asked.recipe, seed=seed),
        classification=audit_classes(rated, asked.recipe, good_rating=asked.good_rating),
        slices=slices,
        slices_not_named=unnamed,
        fairness=audit_fairness(compared, seed=seed),
        representation=audit_representation(dataset, asked.population),
        mistakes=worst_mistakes(compared),
    )
    return report.model_copy(update={"findings": findings(report)})


def _accuracy(compared: Compared, length_margins: Floats) -> Accuracy:
    """The model beside a fitted length-only reward and the two that need no fit."""
    margins: dict[BaselineName, Floats] = {
        "length_only": length_margins,
        "longer_wins": compared.log_lengths,
        "shorter_wins": -compared.log_lengths,
    }
    return Accuracy(
        model=share(compared.hits, compared.groups),
        baselines=[
            Baseline(
                name=name,
                accuracy=share(hits(other), compared.groups),
                gain=mean_difference(compared.hits - hits(other), compared.groups),
            )
            for name, other in margins.items()
        ],
    )
