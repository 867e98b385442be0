"""Agreement on the random share: fair where volunteers and doubt are not."""

import uuid
from collections.abc import Sequence

import numpy as np
import pytest

from services.trainer.queries import groups_trained_on
from services.trainer.review.estimating import agreement, judged_sample, read_stars
from services.trainer.review.pool import Interaction
from shared.db.tables import PromptGroup
from shared.ml.scorer import Pair, Scores


class Numbered:
    """Finds a response as good as the number it is."""

    def score(self, pairs: Sequence[Pair], *, details: bool = False) -> Scores:
        numbers = np.array([float(pair.response) for pair in pairs])
        none = np.zeros(len(pairs), dtype=bool)
        return Scores(numbers, numbers, none, none.astype(np.int64))


def interactions(judged: Sequence[bool]) -> list[Interaction]:
    return [
        Interaction(uuid.UUID(int=at), f"i{at}", "a", is_judged, bytes([at % 256]))
        for at, is_judged in enumerate(judged)
    ]


def measured(responses: Sequence[float], stars: Sequence[float], *, trained: Sequence[int] = ()):
    sample = interactions([True] * len(stars))
    return agreement(
        Numbered(), sample,
        {one.id: Pair(f"p{one.id.int}", str(responses[one.id.int])) for one in sample},
        {one.interaction_id: stars[one.id.int] for one in sample},
        unseen={one.id: one.id.int not in trained for one in sample}, good_rating=4.0,
    )  # fmt: skip


def test_the_sample_ends_where_too_many_are_not_judged():
    gap = [True] * 40 + [False] * 2 + [True] * 10 + [False] * 100

    assert len(judged_sample(interactions(gap))) == 52
    assert len(judged_sample(interactions([True] * 40 + [False] * 3 + [True] * 10))) == 42
    assert judged_sample(interactions([False, True, True])) == []


def test_agreement_is_the_share_of_equal_opinions():
    found = measured([0.9, 0.8, 0.6, 0.2], [5, 4, 1, 2])

    assert found.accuracy is not None
    assert found.accuracy.mean == pytest.approx(0.75)
    assert (found.found_good, found.expected_good) == (0.5, pytest.approx(0.625))
    assert found.auc == 1.0


def test_prompts_that_are_trained_on_do_not_count():
    found = measured([0.9, 0.8, 0.6, 0.2], [1, 1, 1, 2], trained=[0, 1])

    assert (found.judged, found.left_out, found.counted) == (4, 2, 2)
    assert found.accuracy is not None
    assert found.accuracy.mean == pytest.approx(0.5)


def test_too_few_say_nothing():
    assert measured([0.9], [5]).accuracy is None


def test_asking_about_doubts_alone_would_misjudge_a_model_that_the_share_does_not():
    """9 of 10 responses are easy. What was judged for its doubt are the hard ones alone."""
    generator = np.random.default_rng(0)
    is_hard = generator.random(3000) < 0.1
    is_right = generator.random(3000) < np.where(is_hard, 0.5, 0.95)
    good = generator.random(3000) < 0.5
    expected = np.where(good == is_right, 0.8, 0.2)
    order = generator.permutation(3000)
    first = order[:600]

    found = measured(expected[first], np.where(good[first], 5.0, 1.0))

    assert found.accuracy is not None
    assert is_right[is_hard].mean() < 0.6
    assert found.accuracy.low <= is_right.mean() <= found.accuracy.high


async def test_stars_of_several_people_are_averaged(sessions, insert, feedback):
    await insert(
        feedback(interaction_id="a", rating=5),
        feedback(interaction_id="a", human_rating=0.5),
        feedback(interaction_id="b", thumbs="down"),
        feedback(interaction_id="b", step="1", rating=5),
        feedback(rating=1),
    )

    async with sessions() as session:
        found = await read_stars(session, 1)

    assert found == {"a": 4.0, "b": 2.0}


async def test_a_response_that_was_corrected_and_not_rated_was_found_bad(
    sessions, insert, feedback
):
    await insert(
        feedback(interaction_id="a", corrected_response="Better."),
        feedback(interaction_id="b", corrected_response="Better.", rating=5),
    )

    async with sessions() as session:
        found = await read_stars(session, 1)

    assert found == {"a": 2.0, "b": 5.0}


async def test_groups_of_the_training_side_are_known(sessions, insert):
    await insert(
        PromptGroup(project_id=1, group_hash=b"known", side="train"),
        PromptGroup(project_id=1, group_hash=b"held out", side="test"),
        PromptGroup(project_id=2, group_hash=b"elsewhere", side="train"),
    )

    async with sessions() as session:
        assert await groups_trained_on(session, 1) == {b"known"}
