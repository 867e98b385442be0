"""How people rate on the scale of a finished reward: cuts, ties, and the rating to expect."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from services.trainer.examples import Scale
from services.trainer.likelihood.evidence import Evidence, Floats
from services.trainer.likelihood.fitting import fit_shares
from services.trainer.likelihood.nuisance import lay_out
from services.trainer.likelihood.terms import LEVELS


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
        report: of `Thresholds`, as it lies among the metrics of a model.
        otherwise: what to say where the model knows no cuts, 0-1, shape (n,).
    """
    found, asked = otherwise.copy(), np.array(scales)
    for scale, levels in LEVELS.items():
        cuts = [report.get(f"{scale}_cut_{at}") for at in range(1, levels)]
        known = np.array([cut for cut in cuts if isinstance(cut, float)])
        rows = asked == scale
        if scale != "thumbs" and len(known) == len(cuts):  # a thumb is a label, not a number
            found[rows] = expected_rating(rewards[rows], known, scale)
    return found


def expected_rating(rewards: Floats, cuts: Floats, scale: Scale) -> Floats:
    """The rating to expect of a person with these cuts, 0-1.

    Args:
        rewards: any shape.
        cuts: ascending, shape (levels - 1,).
        scale: its levels are worth from 0 for one star or a thumb down to 1 for five stars or a
            thumb up; a quarter of the 0-1 scale is worth its middle.

    Source: McCullagh 1980; the mean of the levels under P(level <= k) = sigmoid(cut_k - reward).
    """
    above = 1.0 / (1.0 + np.exp(np.clip(cuts - rewards[..., None], -700.0, 700.0)))
    lowest = 0.5 / LEVELS[scale] if scale == "unit" else 0.0
    return np.asarray(lowest + (1.0 - 2.0 * lowest) * above.mean(axis=-1))
