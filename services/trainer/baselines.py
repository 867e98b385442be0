"""What a reward model must beat: length alone, and knowing nothing."""

from collections.abc import Sequence

import numpy as np

from services.trainer.evidence import Items, collect_items
from services.trainer.examples import PreferencePair, RatedResponse
from services.trainer.heads import Floats, fit_weights
from shared.ml.scorer import Pair

_GRID = (1.0,)


def fitted_length_margins(
    train_pairs: Sequence[PreferencePair],
    train_rated: Sequence[RatedResponse],
    test_pairs: Sequence[PreferencePair],
) -> Floats:
    """Margins of a fitted length-only reward on the test pairs, shape (test pairs,).

    Fitted like a real model, because people prefer longer responses in some data and shorter ones
    in other data: the sign has to be learned.
    """
    items = collect_items(train_pairs, train_rated)
    scale = float(np.std(_lengths(items.pairs))) or 1.0
    weight = fit_length_weight(items, scale)
    return length_differences(test_pairs) / scale * weight


def fit_length_weight(items: Items, scale: float) -> float:
    """Weight of ln(1 + characters) / scale in the length-only reward."""
    features = _lengths(items.pairs)[:, None] / scale
    features = features - features.mean()
    fitted = fit_weights(features, items.evidence, items.groups, grid=_GRID, seed=0)
    return float(fitted.weights[0])


def length_differences(pairs: Sequence[PreferencePair]) -> Floats:
    """ln(1 + characters) of chosen minus rejected: the margins of "longer wins"."""
    sides = [pair.sides for pair in pairs]
    return _lengths([chosen for chosen, _ in sides]) - _lengths([other for _, other in sides])


def _lengths(pairs: Sequence[Pair]) -> Floats:
    return np.log1p([len(pair.response) for pair in pairs], dtype=np.float64)
