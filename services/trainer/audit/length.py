"""Whether a model prefers longer responses more than people do.

People may rightly prefer longer or shorter responses, and a model that learned it is not at fault.
At fault is a model that gives length more weight than people's choices bear out. So people's
choices are regressed on the model's reward difference and on the length difference together: if
the model weighs length as people do, the length tells nothing beyond the reward.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from scipy.stats import t as student

from services.trainer.audit.held_out import Compared, Rated
from services.trainer.audit.intervals import correlated, share
from services.trainer.groups import Groups, numbered
from services.trainer.heads import Floats
from shared.contracts.audit import Correlation, Estimate, LengthAudit, LengthBin, LengthVerdict

LEVEL = 0.01  # one-sided, of the regression's test; the verdict also needs the correlation
FEWEST = 50
MATCHED = float(np.log(1.1))

_BINS = 5
_RIDGE = 1e-2  # keeps the fit finite where the model ranks every comparison as people do
_STEPS = 100


def audit_length(compared: Compared, rated: Rated, *, seed: int) -> LengthAudit | None:
    """The length audit of held-out comparisons, or None without any."""
    if not len(compared):
        return None
    uneven = compared.take(np.flatnonzero(compared.log_lengths != 0))
    matched = compared.take(np.flatnonzero(np.abs(compared.log_lengths) <= MATCHED))
    use = weigh_length(uneven.margins, uneven.log_lengths, uneven.groups) if len(uneven) else None
    together = _correlation(compared.margins, compared.log_lengths, compared.groups, seed=seed)
    return LengthAudit(
        verdict=_verdict(uneven, use, together),
        pairs=len(uneven),
        people_pick_longer=_share(uneven, _people_longer(uneven)),
        model_picks_longer=_share(uneven, _model_longer(uneven)),
        longer_at_equal_reward=use.at_equal_reward if use else None,
        p_overvalued=use.p if use else None,
        reward_and_length=together,
        reward_and_length_given_rating=_given_rating(rated, seed=seed),
        matched_pairs=len(matched),
        matched_accuracy=_share(matched, matched.hits),
        bins=_bins(uneven),
    )


@dataclass(frozen=True)
class LengthUse:
    """How people use length beyond the model's reward.

    Attributes:
        coefficient: of ln(1 + characters) beside the reward; below 0 where the model overvalues
            length.
        p: one-sided p-value of a coefficient below 0.
        at_equal_reward: chance that people choose the one twice as long of two responses of equal
            reward.
    """

    coefficient: float
    p: float
    at_equal_reward: Estimate


def weigh_length(margins: Floats, log_lengths: Floats, groups: Groups) -> LengthUse:
    """Logistic regression of choices on reward and length differences, errors robust to groups.

    Every comparison is read both ways round, so there is no intercept and who is called the first
    makes no difference.

    Args:
        margins: reward of the chosen minus the rejected response, shape (n,).
        log_lengths: the same of ln(1 + characters).
        groups: prompt group of each comparison.
    """
    scale = np.array([_spread(margins), _spread(log_lengths)])
    rows = np.stack([margins, log_lengths], axis=1) / scale
    weights, hessian = _fit(rows)
    pulls = rows * expit(-(rows @ weights))[:, None]
    member = numbered(groups)
    sums = np.stack([np.bincount(member, weights=pull) for pull in pulls.T], axis=1)
    count = len(sums)
    inverse = np.linalg.inv(hessian)
    middle = sums.T @ sums * count / max(count - 1, 1)
    error = float(np.sqrt((inverse @ middle @ inverse)[1, 1])) / scale[1]
    return _use(float(weights[1] / scale[1]), error, freedom=max(count - 2, 1))


def _use(coefficient: float, error: float, *, freedom: int) -> LengthUse:
    half = float(student.ppf(0.975, freedom)) * error
    chances = expit(np.log(2) * np.array([coefficient, coefficient - half, coefficient + half]))
    value, low, high = (float(chance) for chance in chances)
    p = float(student.cdf(coefficient / error, freedom)) if error > 0 else 0.5
    return LengthUse(coefficient, p, Estimate(value=value, low=low, high=high))


def _fit(rows: Floats) -> tuple[Floats, Floats]:
    """Weights by Newton's method, and the Hessian there."""
    weights = np.zeros(rows.shape[1])
    ridge = _RIDGE * np.eye(rows.shape[1])
    for _ in range(_STEPS):
        missed = expit(-(rows @ weights))
        hessian = rows.T @ (rows * (missed * (1 - missed))[:, None]) + ridge
        step = np.linalg.solve(hessian, rows.T @ missed - ridge @ weights)
        weights = weights + step / max(1.0, float(np.abs(step).max()))
        if float(np.abs(step).max()) < 1e-8:
            break
    return weights, hessian


def _verdict(
    uneven: Compared, use: LengthUse | None, together: Correlation | None
) -> LengthVerdict:
    """Overvalued needs both: the model leans on length, and people's choices do not bear it out."""
    if use is None or len(set(uneven.groups)) < FEWEST:
        return "undecidable"
    leans = together is not None and together.r.low > 0
    return "beyond_people" if leans and use.p < LEVEL else "within_people"


def _correlation(left: Floats, right: Floats, groups: Groups, *, seed: int) -> Correlation | None:
    found = correlated(left, right, groups, seed=seed)
    return None if found is None else Correlation(rows=len(left), r=found)


def _given_rating(rated: Rated, *, seed: int) -> Correlation | None:
    """Reward and log length with what both owe to the rating taken out of them."""
    if len(rated) < 10:
        return None
    lengths = np.log1p([len(row.response) for row in rated.rows], dtype=np.float64)
    stars = np.stack([np.ones(len(rated)), rated.stars], axis=1)
    left, right = (
        values - stars @ np.linalg.lstsq(stars, values, rcond=None)[0]
        for values in (rated.scores.reward, lengths)
    )
    return _correlation(left, right, rated.groups, seed=seed)


def _people_longer(uneven: Compared) -> Floats:
    return (uneven.log_lengths > 0).astype(np.float64)


def _model_longer(uneven: Compared) -> Floats:
    agreed = uneven.hits
    return np.where(uneven.log_lengths > 0, agreed, 1 - agreed)


def _share(compared: Compared, values: Floats) -> Estimate | None:
    return share(values, compared.groups) if len(compared) else None


def _bins(uneven: Compared) -> list[LengthBin]:
    """Comparisons in up to five bins of equal size by how much longer the longer response is."""
    apart = np.abs(uneven.log_lengths)
    count = min(_BINS, len(uneven) // 20)
    order = np.argsort(apart, kind="stable")
    parts = [uneven.take(rows) for rows in np.array_split(order, count)] if count else []
    return [
        LengthBin(
            pairs=len(part),
            times_longer=float(np.exp(np.abs(part.log_lengths).mean())),
            people_pick_longer=share(_people_longer(part), part.groups),
            model_picks_longer=share(_model_longer(part), part.groups),
        )
        for part in parts
    ]


def _spread(values: Floats) -> float:
    return float(np.sqrt((values**2).mean())) or 1.0
