"""What a request wants to know beside the plain score, and scores that weigh several aspects."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared.contracts.manifest import RewardManifest
from shared.contracts.scoring import Extra
from shared.errors import Detail, InvalidInput
from shared.ml.scorer import Scores

OVERALL = "overall"

Floats = NDArray[np.float64]

_PLAIN: frozenset[Extra] = frozenset({"raw", "reward", "steps"})


@dataclass(frozen=True)
class Asked:
    """What a request wants: extras by name, and weights by aspect (none: overall alone)."""

    extras: frozenset[Extra] = frozenset()
    weights: Mapping[str, float] = field(default_factory=dict)

    @property
    def details(self) -> bool:
        """Whether the engine has to say more than rewards."""
        return bool(self.weights) or not self.extras <= _PLAIN


def refuse_unknown(aspects: Iterable[str], manifest: RewardManifest) -> None:
    """Pass only aspects that the model was trained on.

    Raises:
        InvalidInput: there is another one; the message names those there are.
    """
    known = (OVERALL, *manifest.aspects)
    if not set(aspects) <= set(known):
        detail = Detail("/weights", "unknown_aspect", f"this model knows {', '.join(known)}")
        raise InvalidInput(
            f"The weights name an aspect that this model was not trained on; it knows "
            f"{', '.join(known)}.",
            errors=(detail,),
        )


def logits(scores: Scores, manifest: RewardManifest) -> dict[str, Floats]:
    """By aspect the log-odds of its expected rating, 0-1; of `overall` those of good; shape (n,).

    `overall` is the model's own reward, also where people rated an aspect of that name.
    """
    calibration = manifest.calibration
    own = calibration.slope * scores.reward + calibration.intercept
    return {OVERALL: own} | {
        name: rewards for name, rewards in scores.aspects.items() if name != OVERALL
    }


def weighted(scores: Scores, weights: Mapping[str, float], manifest: RewardManifest) -> Floats:
    """Log-odds over several aspects: their mean by weight, shape (n,).

    A logarithmic opinion pool: sum of w_a · logit_a over the sum of |w_a|. A negative weight
    prefers less of an aspect. `overall` alone gives the model's own log-odds.

    Source: Genest & Zidek 1986, "Combining probability distributions", section 3.
    """
    found = logits(scores, manifest)
    total = sum(abs(weight) for weight in weights.values())
    parts = [weight / total * found[name] for name, weight in weights.items()]
    return np.asarray(np.sum(parts, axis=0), dtype=np.float64)


def good(log_odds: Floats) -> Floats:
    """The probability of each log-odds, 0-1, shape (n,)."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -log_odds)), dtype=np.float64)
