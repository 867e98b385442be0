"""The tensors' terms against the numpy terms: the same losses and the same derivatives."""

import numpy as np
import pytest
import torch

from services.trainer.evidence import collect_items
from services.trainer.examples import RatedResponse
from services.trainer.likelihood import terms
from services.trainer.likelihood.nuisance import lay_out
from services.trainer.transformer import losses
from services.trainer.transformer.model import Thresholds

DRAW = np.random.default_rng(7)
MARGINS = np.concatenate([DRAW.normal(scale=3, size=20), [-80.0, 0.0, 80.0]])


def graded(value: torch.Tensor, *inputs: torch.Tensor) -> list[np.ndarray]:
    """The losses, then their derivatives by each input."""
    slopes = torch.autograd.grad(value.sum(), inputs)
    return [value.detach().numpy(), *(slope.numpy() for slope in slopes)]


def leaf(numbers: np.ndarray | float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64, requires_grad=True)


def assert_alike(found: list[np.ndarray], expected: tuple[np.ndarray, ...]) -> None:
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("eta", [0.01, 0.7, 3.0])
@pytest.mark.parametrize("name", ["rao_kupper_win", "rao_kupper_tie"])
def test_wins_and_ties_cost_what_the_numpy_terms_say(name: str, eta: float) -> None:
    margins, etas = leaf(MARGINS), leaf(np.full(len(MARGINS), eta))

    found = graded(getattr(losses, name)(margins, etas), margins, etas)

    assert_alike(found, getattr(terms, name)(MARGINS, eta))


def test_without_ties_a_win_is_bradley_terry() -> None:
    margins = leaf(MARGINS)

    found = graded(losses.rao_kupper_win(margins, 0.0), margins)

    assert_alike(found, terms.bradley_terry(MARGINS))


def test_ratings_between_below_and_above_the_cuts_cost_what_the_numpy_term_says() -> None:
    cuts = np.array([-np.inf, -1.0, 0.2, 2.0, np.inf])
    level = DRAW.integers(4, size=len(MARGINS))
    rewards, lower, upper = leaf(MARGINS), leaf(cuts[level]), leaf(cuts[level + 1])

    found = graded(losses.cumulative_link(rewards, lower, upper), rewards, lower, upper)

    expected = terms.cumulative_link(MARGINS, cuts[level], cuts[level + 1])
    assert_alike(found, expected)


def test_rankings_of_several_lengths_cost_what_the_numpy_term_says() -> None:
    rewards = DRAW.normal(size=(6, 4))
    is_there = np.arange(4) < np.array([2, 4, 3, 4, 2, 3])[:, None]
    given = leaf(np.where(is_there, rewards, 0.0))

    found = graded(losses.plackett_luce(given, torch.tensor(is_there)), given)

    expected = terms.plackett_luce(np.where(is_there, rewards, -np.inf))
    assert_alike([found[0], np.where(is_there, found[1], 0.0)], expected)


def test_cuts_ascend_as_the_numpy_ones_do() -> None:
    raw = DRAW.normal(size=(3, 4))

    np.testing.assert_allclose(losses.ordered_cuts(leaf(raw)).detach(), terms.ordered_cuts(raw))


def test_raters_are_held_to_the_common_cuts_as_in_the_linear_fit() -> None:
    rated = RatedResponse("p", "r", 3, "g", "row", rater="ann")
    evidence = collect_items([], [rated], ratings_as="levels").evidence
    thresholds = Thresholds(1)
    with torch.no_grad():
        thresholds.shifts[1, list(terms.LEVELS).index("stars")] = 1.0

    own = lay_out(evidence).precision[4:]  # after the four common cuts

    assert thresholds.penalty().item() == pytest.approx(0.5 * own.sum())
