"""What posts say about which responses are good."""

import json
import uuid
from datetime import UTC, datetime
from itertools import count

import pytest

from services.trainer.datasets import FeedbackRow, PreferenceRow, StepRow, collect_evidence
from services.trainer.lines import canonical, count_lines, read_snapshot, snapshot_lines
from services.trainer.splits import group_by_secret, normalise_prompt
from shared.contracts.values import Side

_seqs = count(1)
GROUP_OF = group_by_secret(b"secret", 1)
AT = datetime(2025, 3, 1, 12, tzinfo=UTC)
POST = {"rater": None, "agent": None, "task": None, "context": {}, "at": AT}


def rated(response: str, prompt: str = "Why?", **given: object) -> FeedbackRow:
    values = POST | {"seq": next(_seqs), "id": uuid.uuid4(), "prompt": prompt}
    return FeedbackRow(**values | {"response": response} | given)


def compared(outcome: str, **given: object) -> PreferenceRow:
    values = POST | {"seq": next(_seqs), "id": uuid.uuid4(), "prompt": "Why?"}
    return PreferenceRow(
        **values | {"response_a": "a", "response_b": "b", "outcome": outcome} | given
    )


def directions(*feedback: FeedbackRow, preferences: tuple[PreferenceRow, ...] = ()):
    evidence = collect_evidence(feedback, preferences, GROUP_OF)
    return sorted((pair.chosen, pair.rejected) for pair in evidence.pairs)


def test_the_better_rated_response_to_the_same_normalised_prompt_is_chosen():
    rows = [rated("good", "Why?", rating=5), rated("bad", "  why? ", rating=2)]

    assert directions(*rows) == [("good", "bad")]


def test_equally_rated_responses_make_no_pair():
    assert directions(rated("one", rating=4), rated("two", rating=4)) == []


def test_ratings_on_different_scales_are_never_compared():
    assert directions(rated("stars", rating=5), rated("thumb", thumbs="down")) == []


def test_thumbs_are_one_cut():
    rows = [
        rated("liked", thumbs="up"),
        rated("disliked", thumbs="down"),
        rated("too", thumbs="up"),
    ]

    assert directions(*rows) == [("liked", "disliked"), ("too", "disliked")]


def test_a_rater_who_rated_both_is_believed_before_the_means():
    """The strict rater prefers "one" though the lenient rater lifts the mean of "two"."""
    rows = [
        rated("one", rating=2, rater="strict"),
        rated("two", rating=1, rater="strict"),
        rated("two", rating=5, rater="lenient"),
    ]

    assert directions(*rows) == [("one", "two")]


def test_without_a_common_rater_the_mean_ratings_are_compared_and_every_row_is_named():
    rows = [
        rated("one", rating=3, rater="r1"),
        rated("two", rating=5, rater="r2"),
        rated("two", rating=2, rater="r3"),
    ]
    evidence = collect_evidence(rows, [], GROUP_OF)

    assert [(p.chosen, p.rejected) for p in evidence.pairs] == [("two", "one")]
    assert set(evidence.pairs[0].row_ids) == {str(row.id) for row in rows}


def test_a_pair_of_ratings_is_reported_under_what_both_sides_have_in_common():
    """Under the better one's agent, every agent would hold only what it won."""
    evidence = collect_evidence(
        [
            rated("one", rating=5, agent="mild", task="triage"),
            rated("two", rating=2, agent="harsh", task="triage", context={"region": "north"}),
        ],
        [],
        GROUP_OF,
    )

    assert [pair.slices for pair in evidence.pairs] == [{"task": "triage"}]


def test_a_correction_is_chosen_over_the_response_it_corrects():
    assert directions(rated("wrong", corrected_response="right")) == [("right", "wrong")]


def test_a_correction_that_changes_nothing_says_nothing():
    evidence = collect_evidence([rated("fine", corrected_response=" fine ")], [], GROUP_OF)

    assert evidence.pairs == []
    assert evidence.seqs == set()


def test_a_post_without_rating_or_correction_enters_no_dataset():
    assert collect_evidence([rated("text")], [], GROUP_OF).seqs == set()


@pytest.mark.parametrize(("outcome", "expected"), [("a", ("a", "b")), ("b", ("b", "a"))])
def test_a_choice_makes_one_pair(outcome: str, expected: tuple[str, str]):
    assert directions(preferences=(compared(outcome),)) == [expected]


def test_ties_are_kept_apart_from_pairs():
    rows = [compared("tie"), compared("both_bad")]
    evidence = collect_evidence([], rows, GROUP_OF)

    assert evidence.pairs == []
    assert [tie.outcome for tie in evidence.ties] == ["tie", "both_bad"]
    assert evidence.seqs == {row.seq for row in rows}


def test_a_ranking_implies_every_pair_in_its_order_and_weighs_less_than_its_pairs():
    candidates = [{"id": name, "text": f"text {name}"} for name in "xyz"]
    row = compared("ranking", candidates=candidates, ranking=["z", "x", "y"])
    evidence = collect_evidence([], [row], GROUP_OF)

    found = [(pair.chosen[-1], pair.rejected[-1]) for pair in evidence.pairs]
    assert found == [("z", "x"), ("z", "y"), ("x", "y")]
    assert sum(pair.weight for pair in evidence.pairs) == pytest.approx(2.0)


def test_a_ranking_of_equal_texts_says_nothing_and_hinders_no_snapshot():
    candidates = [{"id": name, "text": "the same"} for name in "xy"]
    row = compared("ranking", candidates=candidates, ranking=["y", "x"])
    evidence = collect_evidence([], [row], GROUP_OF)

    assert snapshot_lines(evidence, dict.fromkeys(evidence.groups, Side.TEST)) == []


def test_contradicting_raters_are_counted():
    evidence = collect_evidence([], [compared("a"), compared("a"), compared("b")], GROUP_OF)

    lines = snapshot_lines(evidence, dict.fromkeys(evidence.groups, Side.TRAIN))

    assert count_lines(lines)["contradictions"] == 1


def test_a_prompt_with_very_many_responses_does_not_drown_the_others():
    rows = [rated(f"response {i:03}", rating=1 + i % 5) for i in range(200)]

    assert len(directions(*rows)) <= 200 * 10


def test_width_case_and_white_space_make_no_other_prompt():
    assert normalise_prompt(" Ｗhat\tIS  \n this? ") == "what is this?"


def test_what_was_said_comes_back_from_a_snapshot_as_it_was():
    choice = compared("b", rater="r_1", strength=2.0, presented_order=["b", "a"])
    ranking = compared(
        "ranking",
        candidates=[{"id": name, "text": name} for name in "xyz"],
        ranking=["z", "x", "y"],
        rater="r_2",
    )
    values = POST | {"seq": next(_seqs), "id": uuid.uuid4(), "prompt": "Why?"}
    step = StepRow(**values | {"response": "So", "earlier": ("First",), "thumbs": "up"})
    ratings = [rated("good", human_rating=0.75, rater="r_1", aspects={"clear": 4.0})]
    ratings += [rated("fair", rater="r_4", aspects={"clear": 2.0, "kind": 0.5})]
    rows = [choice, ranking, compared("both_bad", rater="r_3")]
    evidence = collect_evidence(ratings, rows, GROUP_OF, [step])

    lines = snapshot_lines(evidence, dict.fromkeys(evidence.groups, Side.TEST))
    read = read_snapshot([json.loads(canonical(line)) for line in lines], "hash")

    by_source = {pair.source: pair for pair in read.test_pairs}
    assert (by_source["preference"].strength, by_source["preference"].rater) == (2.0, "r_1")
    assert by_source["preference"].presented_first == "chosen"
    assert by_source["ranking"].presented_first is None
    assert [one.responses for one in read.test_rankings] == [("z", "x", "y")]
    assert [(tie.outcome, tie.rater) for tie in read.test_ties] == [("both_bad", "r_3")]
    assert [(one.steps, one.rating, one.scale) for one in read.test_steps] == [
        (("First", "So"), 4.0, "thumbs")
    ]
    assert [(one.rating, one.scale, one.aspects) for one in read.test_rated] == [
        (4.0, "unit", {"clear": 4.0})
    ]
    assert [(one.response, one.rater, one.aspects) for one in read.test_aspects] == [
        ("fair", "r_4", {"clear": 2.0, "kind": 0.5})
    ]
    assert {one.at for one in (*read.test_pairs, *read.test_rated)} == {AT.isoformat()}
