"""What a reward model can say of its own scores: how far to trust them, and whether they hold.

An interval is for one more judgement: a rating, where enough prompts have ratings in stars or from
0 to 1, else a label, good or not.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.trainer.audit.held_out import drawn
from services.trainer.conformal import Judgements, fit_label_interval, fit_rating_interval
from services.trainer.examples import PreferencePair, RatedResponse, RewardDataset
from services.trainer.groups import group_sums, numbered
from services.trainer.heads import Floats, Indices
from services.trainer.reward_metrics import Metrics, correlation, share_interval
from shared.contracts.manifest import Calibration, Conformal, RewardManifest
from shared.ml.calibrated import Interval, interval
from shared.ml.scorer import Pair, Scorer

FEWEST_RATED_GROUPS = 30
FEWEST_IN_SLICE = 20
MOST_LOOKED_AT = 1000


@dataclass(frozen=True)
class Said:
    """k judgements of responses, each a number of 0-1, with the prompt group and slices of each."""

    items: Sequence[Pair]
    values: Floats
    groups: Sequence[bytes | str]
    slices: Sequence[Mapping[str, str]]

    def __len__(self) -> int:
        return len(self.items)


def fit_interval(
    dataset: RewardDataset,
    rewards: Mapping[Pair, float],
    calibration: Calibration,
    *,
    good_rating: float,
    seed: int,
) -> Conformal | None:
    """The interval of a model from judgements that it was not fitted on, or None without any.

    Args:
        dataset: whose train side is read.
        rewards: out-of-fold raw rewards; judgements of other items are left out.
        calibration: the model's, which is the middle of intervals for labels.
        good_rating: in labels, a rating counts as good from here on.
        seed: of the folds.
    """
    ratings = _known(said_ratings(dataset.train_rated), rewards)
    if len(set(ratings.groups)) >= FEWEST_RATED_GROUPS:
        return fit_rating_interval(_judgements(ratings, rewards), seed=seed)
    labels = said_labels(dataset.train_pairs, dataset.train_rated, good_rating=good_rating)
    labels = _known(labels, rewards)
    if len(set(labels.groups)) < 2:
        return None
    return fit_label_interval(_judgements(labels, rewards), calibration)


def said_ratings(rated: Sequence[RatedResponse]) -> Said:
    """Ratings in stars or from 0 to 1, each on the 0-1 scale."""
    rows = [one for one in rated if one.scale != "thumbs"]
    return Said(
        [Pair(one.prompt, one.response) for one in rows],
        np.array([(one.rating - 1) / 4 for one in rows], dtype=np.float64),
        [one.group for one in rows],
        [one.slices for one in rows],
    )


def said_labels(
    pairs: Sequence[PreferencePair], rated: Sequence[RatedResponse], *, good_rating: float
) -> Said:
    """1 for a response that was rated as good or preferred, 0 for one that was not."""
    chosen = [pair for pair in pairs if pair.source != "rating"]
    items = [side for pair in chosen for side in pair.sides]
    good = [float(one.rating >= good_rating) for one in rated]
    return Said(
        [*items, *(Pair(one.prompt, one.response) for one in rated)],
        np.array([*([1.0, 0.0] * len(chosen)), *good]),
        [*(pair.group for pair in chosen for _ in pair.sides), *(one.group for one in rated)],
        [*(pair.slices for pair in chosen for _ in pair.sides), *(one.slices for one in rated)],
    )


def coverage_metrics(
    manifest: RewardManifest,
    dataset: RewardDataset,
    rewards_of: Callable[[Sequence[Pair]], Floats],
    *,
    good_rating: float,
) -> Metrics:
    """How often held-out judgements lie in their intervals, overall and by slice.

    Every prompt counts once, as in the quantile, however much was said about it, and every share
    has a 95 % interval over prompts. Slices with fewer than twenty judgements are left out.
    """
    conformal = manifest.conformal
    if conformal is None:
        return {}
    if conformal.target == "rating":
        said = said_ratings(dataset.test_rated)
    else:
        said = said_labels(dataset.test_pairs, dataset.test_rated, good_rating=good_rating)
    if not len(said):
        return {"interval_target": conformal.target, "coverage_judgements": 0}
    bounds = interval(rewards_of(said.items), conformal, manifest.calibration)
    inside = ((bounds.low <= said.values) & (said.values <= bounds.high)).astype(np.float64)
    metrics: Metrics = {
        "interval_target": conformal.target,
        "interval_level": conformal.level,
        "interval_width": float((bounds.high - bounds.low).mean()),
    }
    metrics |= _share("coverage", inside, said, np.arange(len(said)))
    for name, rows in _slices(said).items():
        if len(rows) >= FEWEST_IN_SLICE:
            metrics |= _share(f"slice/{name}/coverage", inside, said, rows)
    return metrics | (_followed(bounds, said) if conformal.target == "rating" else {})


def outside_metrics(scorer: Scorer, dataset: RewardDataset) -> Metrics:
    """How many held-out responses the model finds unlike those it learned from."""
    if scorer.manifest.domain is None:
        return {}
    sides = [side for pair in dataset.test_pairs for side in pair.sides]
    held = list(
        dict.fromkeys([*sides, *(Pair(one.prompt, one.response) for one in dataset.test_rated)])
    )
    items = [held[at] for at in drawn(len(held), MOST_LOOKED_AT, seed=0)]
    outside = scorer.score(items, details=True).out_of_domain
    if outside is None or not items:
        return {}
    return {"outside_share": float(outside.mean()), "outside_responses": len(items)}


def _known(said: Said, rewards: Mapping[Pair, float]) -> Said:
    rows = [at for at, item in enumerate(said.items) if item in rewards]
    return Said(
        [said.items[at] for at in rows],
        said.values[rows],
        [said.groups[at] for at in rows],
        [said.slices[at] for at in rows],
    )


def _judgements(said: Said, rewards: Mapping[Pair, float]) -> Judgements:
    own = np.array([rewards[item] for item in said.items])
    return Judgements(own, said.values, numbered(said.groups))


def _slices(said: Said) -> dict[str, Indices]:
    found: dict[str, list[int]] = {}
    for at, slices in enumerate(said.slices):
        for name, value in slices.items():
            found.setdefault(f"{name}={value}", []).append(at)
    return {name: np.array(rows) for name, rows in sorted(found.items())}


def _share(name: str, inside: Floats, said: Said, rows: Indices) -> Metrics:
    sums, counts = group_sums(inside[rows], [said.groups[at] for at in rows])
    found = share_interval(sums / counts, range(len(counts)))
    return {
        name: found.mean,
        f"{name}_low": found.low,
        f"{name}_high": found.high,
        f"{name}_judgements": len(rows),
    }


def _followed(bounds: Interval, said: Said) -> Metrics:
    """How expected ratings follow those that people gave, on the 0-1 scale."""
    return {
        "expected_rating_correlation": correlation(bounds.expected, said.values),
        "expected_rating_mse": float(np.mean((bounds.expected - said.values) ** 2)),
    }
