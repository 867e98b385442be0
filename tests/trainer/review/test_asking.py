"""The queue of planted candidates, from a scorer that doubts what it is told to."""

import uuid
from collections.abc import Sequence

import numpy as np
import pytest

from services.trainer.review.asking import Asked, doubts_from, draw_audit, make_queue
from services.trainer.review.pool import Interaction, distinct
from shared.ml.scorer import Pair, Scores


class Doubter:
    """Doubts each response by the number it ends in."""

    manifest = None

    def __init__(self, *, has_posterior: bool = True) -> None:
        self._has_posterior = has_posterior

    def score(self, pairs: Sequence[Pair], *, details: bool = False) -> Scores:
        numbers = np.array([float(pair.response.rpartition(" ")[2]) for pair in pairs])
        none = np.zeros(len(pairs), dtype=bool)
        return Scores(
            numbers, 0.5 + numbers / 200, none, none.astype(np.int64),
            uncertainty=numbers if self._has_posterior else None,
        )  # fmt: skip


def interaction(number: int, *, of: str = "a", is_judged: bool = False) -> Interaction:
    return Interaction(uuid.UUID(int=number), f"i{number}", of, is_judged, bytes([number]))


@pytest.fixture
def queue():
    def make(audit: list[Interaction], others: list[Interaction], count: int, scorer=None):
        pairs = {one.id: Pair("p", f"response {one.id.int}") for one in [*audit, *others]}

        def embed(some: Sequence[Pair]) -> np.ndarray:
            return np.eye(64)[[int(pair.response.rpartition(" ")[2]) for pair in some]]

        listed = [pairs[one.id] for one in (*audit, *others)]
        scores = scorer.score(listed, details=True) if scorer else None
        doubts = doubts_from(scores, len(listed))
        return make_queue(audit, others, pairs, doubts=doubts, embed=embed, count=count)

    return make


def test_the_most_doubtful_of_each_slice_are_asked_about(queue):
    others = [interaction(n, of="a" if n < 10 else "b") for n in range(20)]

    found = queue([], others, 4, Doubter())

    assert [(one.slice, one.id.int) for one in found] == [("a", 9), ("a", 8), ("b", 19), ("b", 18)]
    assert {one.reason for one in found} == {"unsure"}
    assert [one.uncertainty for one in found] == [9.0, 8.0, 19.0, 18.0]


def test_the_random_share_comes_first_and_is_marked_whatever_the_model_thinks(queue):
    found = queue([interaction(1)], [interaction(n) for n in range(2, 9)], 1, Doubter())

    assert [(one.id.int, one.is_audit, one.reason) for one in found] == [
        (1, True, "audit"), (8, False, "unsure"),
    ]  # fmt: skip
    assert found[0].uncertainty == 1.0


def test_a_model_without_a_posterior_asks_about_what_it_cannot_decide(queue):
    found = queue([], [interaction(n) for n in (0, 40)], 1, Doubter(has_posterior=False))

    assert [(one.id.int, one.reason, one.uncertainty) for one in found] == [(0, "undecided", None)]


def test_without_a_model_coverage_alone_decides(queue):
    found = queue([], [interaction(n) for n in range(5)], 3)

    assert [one.reason for one in found] == ["coverage"] * 3
    assert found[0] == Asked(found[0].id, found[0].interaction_id, "a", "coverage")


def test_the_random_sample_goes_on_behind_what_was_judged():
    drawn = [interaction(1, is_judged=True), interaction(2), interaction(3, is_judged=True),
             interaction(4), interaction(5)]  # fmt: skip

    assert [one.id.int for one in draw_audit(drawn, 2)] == [2, 4]


def test_the_random_share_is_as_good_as_the_whole_while_the_doubtful_one_is_not():
    """Of 2,000 responses a fifth are hard; doubt asks mostly about those, the draw does not."""
    generator = np.random.default_rng(0)
    is_hard = generator.random(2000) < 0.2
    drawn = [interaction_at(at) for at in generator.permutation(2000)]

    share = [is_hard[one.id.int] for one in draw_audit(drawn, 400)]

    assert np.mean(share) == pytest.approx(0.2, abs=0.05)


def interaction_at(at: int) -> Interaction:
    return Interaction(uuid.UUID(int=at), str(at), "a", False, b"")


def test_a_text_is_asked_about_once():
    ids = [uuid.UUID(int=n) for n in range(4)]
    pairs = {
        ids[0]: Pair("What?", "Yes."),
        ids[1]: Pair("what?", " yes. "),
        ids[3]: Pair("What?", "No."),
    }

    assert distinct(ids, pairs) == [ids[0], ids[3]]
