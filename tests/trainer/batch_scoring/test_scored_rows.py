"""What stands beside each row: the scores of the one path, or why there are none."""

import json
from dataclasses import replace

import numpy as np
import pytest

from services.trainer.batch_scoring.columns import find_roles
from shared.contracts.scoring import Message, render_messages
from shared.errors import InvalidInput
from shared.ml.scorer import Pair


def rewards(model, *pairs):
    return model.scorer.score([Pair(*pair) for pair in pairs]).reward.tolist()


def test_every_row_gets_what_the_scorer_says(rows, json_lines, scored, model):
    found = scored(json_lines(rows(40)), extras=("raw",))

    pairs = [Pair(row["prompt"], row["response"]) for row in rows(40)]
    expected = model.scorer.score(pairs)
    assert [row["raw"] for row in found] == pytest.approx(expected.reward.tolist(), abs=1e-5)
    assert [row["score"] for row in found] == pytest.approx(expected.probability.tolist(), abs=1e-5)
    assert [row["id"] for row in found] == list(range(40))
    assert {row["error"] for row in found} == {None}


def test_equal_pairs_get_equal_scores_to_the_last_bit(json_lines, scored):
    row = {"prompt": "what is the sky", "response": "kind sea"}
    other = {"prompt": "what is two", "response": "rude sky of one"}

    found = scored(json_lines([row, other] * 20))

    assert len({one["score"] for one in found[::2]}) == 1


def test_a_comparison_gets_two_scores(json_lines, scored, model):
    row = {"prompt": "what is the sky", "chosen": "kind sea", "rejected": "rude sea"}

    [found] = scored(json_lines([row]), extras=("raw",))

    kind, rude = rewards(model, ("what is the sky", "kind sea"), ("what is the sky", "rude sea"))
    assert (found["chosen_raw"], found["rejected_raw"]) == pytest.approx((kind, rude), abs=1e-5)
    assert found["chosen_score"] > found["rejected_score"]


def test_a_conversation_is_read_as_score_reads_it(json_lines, scored, model):
    turns = [
        {"role": "user", "content": "what is the sky"},
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": "and the sea"},
    ]
    last = {"role": "assistant", "content": "kind sky of two"}
    prompt = render_messages([Message(**turn) for turn in turns])

    [whole] = scored(json_lines([{"messages": [*turns, last]}]), extras=("raw",))
    [parted] = scored(json_lines([{"messages": turns, "response": last["content"]}]),
                      extras=("raw",))  # fmt: skip
    [compared] = scored(json_lines([{"chosen": [*turns, last], "rejected": [*turns, last]}]),
                        extras=("raw",))  # fmt: skip

    [expected] = rewards(model, (prompt, last["content"]))
    found = [whole["raw"], parted["raw"], compared["chosen_raw"], compared["rejected_raw"]]
    assert found == pytest.approx([expected] * 4, abs=1e-5)


def test_named_columns_win_over_known_names(json_lines, scored, model):
    row = {"prompt": "one", "response": "two", "asked": "what is the sky", "said": "kind sea"}

    [found] = scored(json_lines([row]), extras=("raw",), prompt="asked", response="said")

    assert [found["raw"]] == pytest.approx(
        rewards(model, ("what is the sky", "kind sea")), abs=1e-5
    )


@pytest.mark.parametrize(
    ("columns", "prompt", "responses"),
    [
        (["user_query", "agent_response"], "user_query", ["agent_response"]),
        (["question", "answer"], "question", ["answer"]),
        (["prompt", "chosen", "rejected", "messages"], "prompt", ["chosen", "rejected"]),
        (["chosen", "rejected"], None, ["chosen", "rejected"]),
        (["messages", "id"], None, ["messages"]),
    ],
)
def test_columns_are_known_by_their_names(columns, prompt, responses):
    roles = find_roles(columns)

    assert (roles.prompt, list(roles.responses.values())) == (prompt, responses)


def test_a_file_without_responses_is_refused_with_its_columns(json_lines, score, tmp_path):
    with pytest.raises(InvalidInput, match="there are id, prompt"):
        score(json_lines([{"id": 1, "prompt": "what"}]), tmp_path / "out.jsonl")


def test_responses_without_a_prompt_are_refused(json_lines, score, tmp_path):
    with pytest.raises(InvalidInput, match="--prompt-column"):
        score(json_lines([{"response": "kind"}]), tmp_path / "out.jsonl")


def test_extras_and_weights_are_those_of_score(json_lines, rows, scored, model):
    extras = ("raw", "reward", "interval", "out_of_domain", "aspects", "uncertainty", "steps")

    plain = scored(json_lines(rows(3)))
    weighed = scored(json_lines(rows(3)), extras=extras, weights=(("overall", 2.0),))

    expected = model.scorer.score([Pair(row["prompt"], row["response"]) for row in rows(3)],
                                  details=True)  # fmt: skip
    assert [row["score"] for row in weighed] == pytest.approx([row["score"] for row in plain])
    assert [row["interval"]["low"] for row in weighed] == pytest.approx(expected.low.tolist())
    assert [row["uncertainty"] for row in weighed] == pytest.approx(
        expected.uncertainty.tolist(), rel=1e-4
    )
    assert [row["aspects"]["overall"] for row in weighed] == pytest.approx(
        [row["score"] for row in plain]
    )
    assert [row["steps"] for row in weighed] == [None] * 3


def test_a_weight_for_an_unknown_aspect_is_refused(json_lines, rows, score, tmp_path):
    with pytest.raises(InvalidInput, match="it knows overall"):
        score(json_lines(rows(1)), tmp_path / "out.jsonl", weights=(("charm", 1.0),))

    assert not (tmp_path / "out.jsonl").exists()


def test_rows_that_cannot_be_scored_are_kept_with_the_reason(json_lines, scored):
    good = {"prompt": "what", "response": "kind"}
    bad = {"prompt": 5, "response": "kind", "id": "five"}
    lines = [good, "{broken", "", {"response": "kind"}, bad, good | {"score": 1}, "[1]",
             '{"prompt": "what", "response": "\\ud800"}', good]  # fmt: skip

    found = scored(json_lines(lines))

    assert [row["error"] for row in found] == [
        None,
        "not JSON",
        "`prompt` is missing",
        "`prompt` is neither a text nor a conversation",
        "has a column `score` of its own; --prefix names the results otherwise",
        "not a JSON object",
        "`response` holds half of a surrogate pair",
        None,
    ]
    assert found[1] | {"score": None} == found[1]
    assert (found[1]["line"], found[1]["unread"]) == (2, "{broken")
    assert found[3]["id"] == "five"
    assert json.loads(found[4]["unread"]) == good | {"score": 1}
    assert found[0]["score"] == found[-1]["score"] is not None


def test_a_comparison_of_which_one_side_gets_no_number_has_no_score(json_lines, score, model):
    class Failing:
        manifest, engine = model.scorer.manifest, model.scorer.engine

        def score(self, pairs, *, details=False):
            found = model.scorer.score(pairs, details=details)
            is_rude = np.array([pair.response == "rude" for pair in pairs])
            return replace(found, probability=np.where(is_rude, np.nan, found.probability))

    file = json_lines([{"prompt": "what", "chosen": "kind", "rejected": one}
                       for one in ("rude", "sea")])  # fmt: skip
    tally = score(file, file.with_name("out.jsonl"), by={"scorer": Failing()}, extras=("raw",))

    bad, good = map(json.loads, file.with_name("out.jsonl").read_text().splitlines())
    sides = ("chosen_score", "chosen_raw", "rejected_score", "rejected_raw")
    assert tally.faults == [(1, "the model gives no number")]
    assert [bad[name] for name in sides] == [None] * 4
    assert None not in [good[name] for name in sides]


def test_strict_refuses_the_first_bad_row_before_anything_is_scored(json_lines, score, tmp_path):
    file = json_lines([{"prompt": "what", "response": "kind"}, {"prompt": "what"}])

    with pytest.raises(InvalidInput, match="Row 2: `response` is missing"):
        score(file, tmp_path / "out.jsonl", strict=True)

    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_column_that_results_would_replace_is_refused_unless_they_get_a_prefix(
    json_lines, score, scored, tmp_path
):
    file = json_lines([{"prompt": "what", "response": "kind", "score": 0.5}])

    with pytest.raises(InvalidInput, match="--prefix"):
        score(file, tmp_path / "out.jsonl")
    [found] = scored(file, prefix="reward_")

    assert found["score"] == 0.5
    assert 0 < found["reward_score"] < 1
