"""Models of reasoning steps: planted good and bad steps, with either recipe."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.tiny_bert import save_tiny_bert

from services.trainer.examples import PreferencePair, RatedStep, RewardDataset
from services.trainer.judging import held_out_comparisons
from services.trainer.process import steps_as_rated
from services.trainer.recipes import embedding_reward, transformer_reward
from services.trainer.trained import TrainedReward
from shared.errors import NotEnoughData
from shared.ml.artifact import load_scorer
from shared.ml.scorer import Pair
from shared.ml.steps import ProcessScorer, step_pair, steps_of

SECRET = b"a secret of at least thirty-two bytes"
GOOD, BAD = "kind and kind", "rude and rude"
SENSIBLE = "Look up the measured value and check its unit."
GUESSED = "Just guess something, nobody will notice anyway."


def reasoning(good: str, bad: str) -> RewardDataset:
    """Chains of up to three steps; one in two rated steps is bad, wherever it stands."""

    def rated(at: int) -> RatedStep:
        is_good = at % 2 == 0
        earlier = (good, bad, good)[: at % 3]
        steps = (*earlier, good if is_good else bad)
        return RatedStep(
            f"what is {at}", steps, 5.0 if is_good else 1.0, f"g{at}", str(at), rater="r_1"
        )

    steps = [rated(at) for at in range(80)]
    pairs = [
        PreferencePair(f"what is {at}", f"{good}\n\n{good}", f"{good}\n\n{bad}", f"g{at}")
        for at in range(16)
    ]
    return RewardDataset(
        [], pairs, [], [], "sha256:test", train_steps=steps[16:], test_steps=steps[:16]
    )


def trained_on_steps(recipe: str, folder: Path, **given: object) -> TrainedReward:
    more = {"output": folder / "model", "secret": SECRET, "progress": lambda *_: None}
    if recipe == "embedding":
        embedding = embedding_reward.EmbeddingParams(learn_from="steps", **given)
        dataset = reasoning(SENSIBLE, GUESSED)
        return embedding_reward.train(dataset, embedding, code_version="test", **more)
    transformer = transformer_reward.TransformerParams(
        learn_from="steps", base_model=str(save_tiny_bert(folder / "tiny")), epochs=8,
        batch_size=4, learning_rate=3e-3, max_tokens=32, **given,
    )  # fmt: skip
    return transformer_reward.train(reasoning(GOOD, BAD), transformer, code_version="test", **more)


@pytest.mark.parametrize(
    ("recipe", "good", "bad"), [("embedding", SENSIBLE, GUESSED), ("transformer", GOOD, BAD)]
)
def test_planted_bad_steps_are_told_from_good_ones_and_spoil_their_response(
    tmp_path: Path, recipe: str, good: str, bad: str
) -> None:
    trained = trained_on_steps(recipe, tmp_path)
    scorer = load_scorer(tmp_path / "model", secret=SECRET)

    assert isinstance(scorer, ProcessScorer)
    steps = scorer.score_steps("what is 3", [good, bad, good])
    assert steps.reward.argmin() == 1
    assert trained.metrics["rated_auc"] == 1.0
    assert trained.metrics["rated_accuracy"] == 1.0
    assert trained.metrics["response_pair_accuracy"] == 1.0


@pytest.mark.parametrize(("step_reward", "sum_up"), [("min", np.min), ("mean", np.mean)])
def test_a_response_gets_the_reward_of_its_steps_summed_up_as_asked(
    tmp_path: Path, step_reward: str, sum_up: object
) -> None:
    trained_on_steps("embedding", tmp_path, step_reward=step_reward)
    scorer = load_scorer(tmp_path / "model", secret=SECRET)
    steps = [SENSIBLE, GUESSED, SENSIBLE]

    alone, whole = scorer.score([Pair("p", GUESSED), Pair("p", "\n\n".join(steps))]).reward

    assert alone == pytest.approx(scorer.score_steps("p", [GUESSED]).reward[0], abs=1e-5)
    assert whole == pytest.approx(sum_up(scorer.score_steps("p", steps).reward), abs=1e-5)


def test_where_only_steps_were_rated_the_gate_matches_good_ones_with_bad_ones() -> None:
    dataset = replace(reasoning(GOOD, BAD), test_pairs=[])

    compared = held_out_comparisons(dataset)

    assert len(compared) == 8
    assert {(pair.chosen, pair.rejected) for pair in compared} == {(GOOD, BAD)}


def test_steps_are_paragraphs_and_a_step_is_read_after_those_before_it() -> None:
    assert steps_of("One.\n\n \nTwo,\nstill two.\n\n") == ["One.", "Two,\nstill two."]
    assert steps_of("  ") == [""]
    assert step_pair("P", ["One.\n\nStill one.", "Two."]) == Pair("P\n\nOne.\nStill one.", "Two.")


def test_neighbours_of_very_many_paragraphs_make_a_step_together() -> None:
    few, many = (steps_of("\n\n".join(map(str, range(count)))) for count in (100, 250))

    assert few == [str(at) for at in range(100)]
    assert len(many) == 84
    assert (many[0], many[-1]) == ("0\n1\n2", "249")


def test_without_rated_steps_a_process_model_is_refused_with_what_to_do() -> None:
    with pytest.raises(NotEnoughData, match="step_id"):
        steps_as_rated(RewardDataset([], [], [], [], "sha256:test"))
