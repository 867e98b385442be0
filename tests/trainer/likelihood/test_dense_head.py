"""The dense head on features whose rewards are known."""

import tracemalloc

import numpy as np
import pytest
from scipy.special import expit

from services.trainer.dense_head import Search, fit_dense, principal_axes
from services.trainer.evidence import Items, collect_items
from services.trainer.examples import PreferencePair, RatedResponse
from services.trainer.likelihood.evidence import Floats

RESPONSES = 200


def compared(rewards: Floats, *, seed: int) -> tuple[Items, Floats]:
    """Comparisons of neighbours by people who see the rewards through noise, and items' places."""
    draw = np.random.default_rng(seed)
    pairs = []
    for one in range(0, len(rewards), 2):
        is_first = draw.random() < expit(rewards[one] - rewards[one + 1])
        better, worse = (one, one + 1) if is_first else (one + 1, one)
        pairs.append(PreferencePair("p", f"{better}", f"{worse}", f"g{one}"))
    items = collect_items(pairs, [], [], [])
    return items, np.array([int(item.response) for item in items.pairs])


@pytest.mark.parametrize("shape", [(50, 8), (8, 50), (8, 8)])
def test_axes_keep_every_row_and_are_at_right_angles(shape: tuple[int, int]) -> None:
    rows = np.random.default_rng(0).normal(size=shape)
    rows[:, 1] = rows[:, 0]

    axes = principal_axes(rows)

    assert rows @ axes @ axes.T == pytest.approx(rows)
    assert axes.T @ axes == pytest.approx(np.eye(axes.shape[1]), abs=1e-6)
    assert axes.shape[1] < shape[1]


@pytest.mark.parametrize("count", [RESPONSES, 20])
def test_weights_give_the_rewards_of_the_features_as_they_are(count: int) -> None:
    draw = np.random.default_rng(1)
    rows = 5 + draw.normal(size=(count, 30)) * draw.uniform(0.1, 10, size=30)
    items, place = compared(2 * (rows[:, 0] - rows[:, 0].mean()) / rows[:, 0].std(), seed=2)

    found = fit_dense(rows[place], items.evidence, items.groups, {"text": 30}, seed=0)

    rewards = rows @ found.weights - found.offset
    assert rewards.mean() == pytest.approx(0, abs=1e-9)
    assert found.weights.shape == found.prior.shape == (30,)
    if count == RESPONSES:
        assert np.corrcoef(rewards, rows[:, 0])[0, 1] > 0.8


def test_features_that_are_all_the_same_give_everything_the_same_reward() -> None:
    items, _ = compared(np.zeros(20), seed=3)

    found = fit_dense(np.ones((20, 4)), items.evidence, items.groups, {"text": 4}, seed=0)

    assert np.all(found.weights == 0)
    assert np.all(found.rewards == 0)


def test_a_fit_holds_three_copies_of_the_features_in_memory_besides_their_own() -> None:
    rows = np.random.default_rng(4).normal(size=(4000, 120))
    rated = [
        RatedResponse("p", f"{at}", 5 if row[0] > 0 else 1, f"g{at // 4}", f"{at}")
        for at, row in enumerate(rows)
    ]
    items = collect_items([], rated, ratings_as="levels")
    some = Search(grid=(1e-2, 1e-1))

    tracemalloc.start()
    fit_dense(rows, items.evidence, items.groups, {"peak": 60, "product": 60}, seed=0, search=some)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 3 * rows.nbytes
