"""Which prompts a run asks, and in which order."""

from services.trainer.policies.order import order_of
from services.trainer.policies.params import OnlineParams


def test_each_pass_asks_every_prompt_once_in_an_order_of_its_own() -> None:
    first, second, rest = (order_of(7, 17, seed=3)[at : at + 7].tolist() for at in (0, 7, 14))

    assert sorted(first) == sorted(second) == list(range(7))
    assert first != second
    assert len(set(rest)) == len(rest) == 3


def test_a_longer_run_begins_as_a_shorter_one_does() -> None:
    assert order_of(7, 17, seed=3)[:9].tolist() == order_of(7, 9, seed=3).tolist()
    assert order_of(7, 9, seed=3).tolist() != order_of(7, 9, seed=4).tolist()


def test_a_run_has_as_many_batches_as_its_passes_fill() -> None:
    assert OnlineParams(epochs=3).batches(12, 5) == 8
    assert OnlineParams().batches(12, 32) == 1
    assert OnlineParams(steps=40).batches(12, 5) == 40
