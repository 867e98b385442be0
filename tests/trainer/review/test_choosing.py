"""Doubt and coverage on planted cases."""

import numpy as np

from services.trainer.review.choosing import choose_diverse, quotas


def test_quotas_lie_between_equal_and_proportional_shares():
    found = quotas({"large": 900, "small": 100}, 8)

    assert found == {"large": 6, "small": 2}


def test_no_slice_is_asked_for_more_than_it_has_and_the_rest_goes_to_others():
    assert quotas({"large": 50, "tiny": 1}, 20) == {"large": 19, "tiny": 1}
    assert quotas({"a": 2, "b": 1}, 20) == {"a": 2, "b": 1}
    assert quotas({}, 5) == {}
    assert quotas({"empty": 0, "b": 1}, 5) == {"empty": 0, "b": 1}


def test_a_slice_of_every_session_is_shared_out_like_any_other():
    sizes = {f"session {at}": 1 + at % 3 for at in range(50_000)}

    found = quotas(sizes, 500)

    assert sum(found.values()) == 500
    assert max(found.values()) == 1


def test_copies_of_one_response_are_not_chosen_while_there_are_others():
    embeddings = np.eye(4)[[0, 0, 0, 1, 2]]
    doubts = np.array([1.0, 0.99, 0.98, 0.5, 0.4])

    assert sorted(choose_diverse(doubts, embeddings, 3)) == [0, 3, 4]


def test_of_responses_as_far_apart_the_more_doubtful_come_first():
    doubts = np.array([0.1, 0.4, 0.2, 0.3])

    assert choose_diverse(doubts, np.eye(4), 3) == [1, 3, 2]


def test_with_equal_doubts_the_chosen_cover_every_cluster():
    generator = np.random.default_rng(0)
    centres = np.eye(8)
    embeddings = np.repeat(centres, 20, axis=0) + 0.05 * generator.normal(size=(160, 8))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)

    chosen = choose_diverse(np.ones(160), embeddings, 8)

    assert {place // 20 for place in chosen} == set(range(8))


def test_more_than_there_are_gives_each_once():
    assert sorted(choose_diverse(np.ones(2), np.eye(2), 9)) == [0, 1]
