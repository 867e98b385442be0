"""What every reward recipe hands back, and how it becomes an artifact folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.trainer.baselines import fitted_length_margins
from services.trainer.examples import RewardDataset
from services.trainer.heads import Floats
from services.trainer.reward_metrics import Metrics, pair_metrics, rated_metrics, score_held_out
from shared.contracts.manifest import RewardManifest
from shared.ml.scorer import Scorer

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
    """Held-out results of a scorer before it is stored."""

    metrics: Metrics
    test_margins: Floats
    length_margins: Floats


def evaluate(scorer: Scorer, dataset: RewardDataset, *, good_rating: float) -> Evaluation:
    """Held-out pair and rating metrics of a scorer, beside the length-only baseline."""
    margins, scores = score_held_out(scorer, dataset.test_pairs, dataset.test_rated)
    length = fitted_length_margins(dataset.train_pairs, dataset.train_rated, dataset.test_pairs)
    metrics = pair_metrics(margins, dataset.test_pairs, length_margins=length)
    metrics |= rated_metrics(scores, dataset.test_rated, good_rating=good_rating)
    counts: Metrics = {
        "train_pairs": len(dataset.train_pairs),
        "train_rated": len(dataset.train_rated),
    }
    return Evaluation(counts | metrics, margins, length)
