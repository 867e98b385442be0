"""How people rate on the scale of a finished reward: cuts, ties, and the rating to expect."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from services.trainer.examples import RatedResponse, Scale
from services.trainer.likelihood.evidence import Evidence, Floats
from services.trainer.likelihood.fitting import fit_shares
from services.trainer.likelihood.nuisance import lay_out
from services.trainer.likelihood.terms import LEVELS, level_of


@dataclass(frozen=True)
class Thresholds:
    """What the likelihood learned beside the rewards.

    Attributes:
        cuts: of each scale those of a rater nobody knows, ascending, shape (levels - 1,).
        raters: of each scale those of every rater who used it.
        eta: by how much a response must be better to be preferred; None when nobody said ties.
    """

    cuts: Mapping[Scale, Floats]
    raters: Mapping[Scale, Mapping[str, Floats]]
    eta: float | None

    def report(self) -> dict[str, float]:
        """The common cuts and eta by name, such as `stars_cut_1`."""
        found = {
            f"{scale}_cut_{at}": float(cut)
            for scale, cuts in self.cuts.items()
            for at, cut in enumerate(cuts, start=1)
        }
        return found if self.eta is None else found | {"tie_eta": self.eta}


def combine(rewards: Floats, evidence: Evidence) -> tuple[Floats, Thresholds]:
    """Non-negative shares of k models, shape (k,), and how people rate on the rewards they give.

    Args:
        rewards: out-of-fold rewards of the n items, shape (n, k).
        evidence: judgements of the items.
    """
    with threadpool_limits(limits=1):  # as of all fits: threads cost more than they save
        found = fit_shares(rewards, evidence)
    nuisance = lay_out(evidence)
    cuts = nuisance.common_cuts(found.vector)
    raters = {scale: nuisance.rater_cuts(found.vector, scale) for scale in cuts}
    eta = nuisance.eta(found.vector) if nuisance.has_eta else None
    return found.weights, Thresholds(cuts, raters, eta)


def predicted_ratings(
    rewards: Floats, scales: Sequence[Scale], report: Mapping[str, object], otherwise: Floats
) -> Floats:
    """The rating to expect of a person nobody knows, 0-1, shape (n,).

    Args:
        rewards: raw rewards of n responses, shape (n,).
        scales: on which each was rated.
        report: of `Thresholds` and `unit_means`, as they lie among the metrics of a model.
        otherwise: what to say where the model knows no cuts, 0-1, shape (n,).
    """
    found, asked = otherwise.copy(), np.array(scales)
    for scale, levels in LEVELS.items():
        cuts = _numbers(report, f"{scale}_cut", levels - 1)
        rows = asked == scale
        if scale != "thumbs" and cuts is not None:  # a thumb is a label, not a number
            means = _numbers(report, f"{scale}_mean", levels)
            found[rows] = expected_rating(rewards[rows], cuts, scale, means=means)
    return found


def unit_means(rated: Sequence[RatedResponse]) -> dict[str, float]:
    """By name, such as `unit_mean_1`, the mean of the 0-1 ratings in each quarter.

    Where nobody rated, it is the quarter's middle; elsewhere people may all say 1, or ½.
    """
    stars = np.array([one.rating for one in rated if one.scale == "unit"])
    levels = np.array([level_of(one, "unit") for one in stars], dtype=np.int64)
    counts = np.bincount(levels, minlength=LEVELS["unit"])
    sums = np.bincount(levels, (stars - 1) / 4, LEVELS["unit"])
    means = np.where(counts > 0, sums / np.maximum(counts, 1), _worth("unit"))
    return {f"unit_mean_{at}": float(mean) for at, mean in enumerate(means, start=1)}


def expected_rating(
    rewards: Floats, cuts: Floats, scale: Scale, *, means: Floats | None = None
) -> Floats:
    """The rating to expect of a person with these cuts, 0-1.

    Args:
        rewards: any shape.
        cuts: ascending, shape (levels - 1,).
        scale: its levels are worth from 0 for one star or a thumb down to 1 for five stars or a
            thumb up; a quarter of the 0-1 scale is worth its middle.
        means: what the levels are worth instead, shape (levels,).

    Source: McCullagh 1980; the mean of the levels under P(level <= k) = sigmoid(cut_k - reward).
    """
    above = 1.0 / (1.0 + np.exp(np.clip(cuts - rewards[..., None], -700.0, 700.0)))
    worth = _worth(scale) if means is None else means
    return np.asarray(worth[0] + above @ np.diff(worth))


def _worth(scale: Scale) -> Floats:
    lowest = 0.5 / LEVELS[scale] if scale == "unit" else 0.0
    return np.linspace(lowest, 1.0 - lowest, LEVELS[scale])


def _numbers(report: Mapping[str, object], name: str, count: int) -> Floats | None:
    """The numbers `name`_1 to `name`_`count`, or None where one is missing."""
    found = [report.get(f"{name}_{at}") for at in range(1, count + 1)]
    known = [number for number in found if isinstance(number, float)]
    return np.array(known) if len(known) == count else None
