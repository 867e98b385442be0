"""What a model says of pairs, in the words of `/score`: for replies over HTTP and for whole files.

A score can weigh several aspects, and beside it stand the extras that were asked for.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.contracts.manifest import RewardManifest
from shared.contracts.scoring import Extra
from shared.errors import Detail, InvalidInput
from shared.ml.calibrated import on_kept_scale
from shared.ml.scorer import Pair, Scorer, Scores
from shared.ml.steps import ProcessScorer

OVERALL = "overall"
UNCERTAINTY = "uncertainty"

Floats = NDArray[np.float64]
Column = Sequence[object]
Steps = Sequence[Sequence[float]]

_PLAIN: frozenset[Extra] = frozenset({"raw", "reward", "steps"})


def needs_details(extras: Collection[str], weights: Mapping[str, float]) -> bool:
    """Whether the engine has to say more than rewards."""
    return bool(weights) or not _PLAIN.issuperset(extras)


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


def score_with_steps(
    scorer: Scorer, pairs: Sequence[Pair], *, details: bool
) -> tuple[Scores, Steps | None]:
    """Scores of some pairs and, of a model that judges steps, those of each step, 0-1."""
    if not isinstance(scorer, ProcessScorer):
        return scorer.score(pairs, details=details), None
    asked, counts = scorer.asked(pairs)
    found = scorer.of_steps.score(asked)
    each = np.split(found.probability, np.cumsum(counts)[:-1])
    return scorer.summed_up(found, counts), [scores.tolist() for scores in each]


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


def chances(scores: Scores, weights: Mapping[str, float], manifest: RewardManifest) -> Floats:
    """The score of each pair, 0-1, shape (n,): by weight where there are weights."""
    if not weights:
        return scores.probability
    return good(weighted(scores, weights, manifest))


def said(
    scores: Scores, manifest: RewardManifest, extras: Collection[str], steps: Steps | None = None
) -> dict[str, Column]:
    """The extras by name, a value for each pair; what the model cannot say is None.

    Args:
        scores: what the model found, with the details that the extras need.
        manifest: what the model is.
        extras: names of `shared.contracts.scoring.Extra`, and `uncertainty`.
        steps: by pair the score of each step of the response.
    """
    nothing = [None] * len(scores)
    columns: dict[str, Column] = {}
    if "raw" in extras:
        columns["raw"] = scores.reward.tolist()
    if "reward" in extras:
        columns["reward"] = on_kept_scale(scores.reward, manifest.continuity).tolist()
    if "interval" in extras:
        columns["interval"] = _intervals(scores) or nothing
    if "out_of_domain" in extras:
        outside = scores.out_of_domain
        columns["out_of_domain"] = nothing if outside is None else outside.tolist()
    if UNCERTAINTY in extras:
        unsure = scores.uncertainty
        columns[UNCERTAINTY] = nothing if unsure is None else unsure.tolist()
    if "aspects" in extras:
        columns["aspects"] = _aspects(scores, manifest)
    if "steps" in extras:
        columns["steps"] = steps or nothing
    return columns


def _intervals(scores: Scores) -> list[dict[str, float]]:
    if scores.low is None or scores.expected is None or scores.high is None:
        return []
    bounds = (scores.low.tolist(), scores.expected.tolist(), scores.high.tolist())
    return [
        dict(zip(("low", "expected", "high"), one, strict=True))
        for one in zip(*bounds, strict=True)
    ]


def _aspects(scores: Scores, manifest: RewardManifest) -> list[dict[str, float]]:
    by_name = {name: good(odds).tolist() for name, odds in logits(scores, manifest).items()}
    rows = zip(*by_name.values(), strict=True)
    return [dict(zip(by_name, row, strict=True)) for row in rows]
