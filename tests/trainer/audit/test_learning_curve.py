from itertools import pairwise

import numpy as np
import pytest

from services.trainer.audit.findings import findings
from services.trainer.audit.held_out import Compared, Rewards
from services.trainer.audit.learning import (
    MOST_COMPARED,
    MOST_JUDGED,
    RememberingEncoder,
    learning_curve,
    part_of,
    read_for_curve,
)
from services.trainer.examples import PreferencePair, RewardDataset, TiedPair
from shared.contracts.audit import AuditReport, LearningCurve
from shared.errors import NotEnoughData
from shared.ml.backbones import default_encoder_folder
from shared.ml.encoder import open_encoder


def split(judged, train: int) -> RewardDataset:
    return RewardDataset(judged.pairs[:train], judged.pairs[train:], [], [], "sha256:test")


def curve_of(judged, dataset: RewardDataset, noise_of):
    """The curve of models whose noise depends on how much they learned from."""

    def refit(part: RewardDataset):
        noise = noise_of(len(part.train_pairs))
        return judged.model(length=0, noise=noise, seed=len(part.train_pairs))

    compared = Compared.of(dataset.test_pairs, Rewards(refit(dataset)))
    return learning_curve(refit, dataset, compared, seed=0)


def test_a_recipe_that_learns_from_more_is_said_to_rise(world):
    judged = world(0, prompts=700)

    curve = curve_of(judged, split(judged, 400), lambda count: 1200 / count)

    assert curve.verdict == "rising"
    assert [one.judgements for one in curve.points] == [50, 100, 200, 400]
    assert curve.points[0].accuracy.value < curve.points[-1].accuracy.value
    assert curve.last_gain.low > 0


def test_a_recipe_that_learned_all_it_can_is_said_to_be_flat(world):
    judged = world(1, prompts=700)

    curve = curve_of(judged, split(judged, 400), lambda _: 0.0)

    assert curve.verdict == "flat"
    assert curve.last_gain.value == 0.0


def test_of_much_feedback_parts_are_learned_from_that_do_not_take_long(world):
    judged = world(2, prompts=3000)

    curve = curve_of(judged, split(judged, 5600), lambda count: 1000 / count)

    largest = MOST_JUDGED
    assert [one.judgements for one in curve.points] == [largest / 4, largest / 2, largest, 5600]
    told = findings(of_curve(curve))
    gain = 100 * curve.last_gain.value / np.log2(5600 / largest)
    assert f"{gain:+.1f} a doubling" in told[-1].text


def test_a_curve_of_last_layers_ends_with_a_last_layer_and_not_with_the_model(world):
    judged = world(5, prompts=3000)
    dataset = split(judged, 5000)
    perfect = Compared.of(dataset.test_pairs, Rewards(judged.model(length=0, noise=0, seed=0)))
    learned, asked = [], set()

    class LastLayer:
        def __init__(self, part: RewardDataset):
            learned.append({pair.group for pair in part.train_pairs})
            self.inner = judged.model(length=0, noise=2000 / len(part.train_pairs), seed=1)

        def score(self, pairs, *, details=False):
            asked.update(pairs)
            return self.inner.score(pairs)

    curve = learning_curve(LastLayer, dataset, perfect, seed=0, refitted="last_layer")

    part, sides = read_for_curve(dataset, dataset.test_pairs, seed=0)
    assert [one.judgements for one in curve.points] == [250, 500, MOST_JUDGED, 2 * MOST_JUDGED]
    assert curve.points[-1].accuracy.value < perfect.hits.mean()
    assert learned[-1] == {pair.group for pair in part.train_pairs}
    assert all(smaller <= larger for smaller, larger in pairwise(learned))
    assert asked == set(sides)
    assert len(sides) == 2 * MOST_COMPARED
    told = findings(of_curve(curve))[-1].text
    assert told.startswith("2000 judgements instead of 1000 change")
    assert "These are last layers alone" in told


def of_curve(curve: LearningCurve) -> AuditReport:
    nothing = dict.fromkeys(("accuracy", "length", "prompt", "ratings", "position"))
    empty = dict.fromkeys(("template", "calibration", "slices", "fairness", "representation"), [])
    return AuditReport.model_construct(**nothing, **empty, learning=curve)


def test_a_recipe_that_cannot_train_again_says_so(world):
    judged = world(3, prompts=100)
    dataset = split(judged, 100)
    compared = judged.compared(judged.model(length=0, noise=1, seed=0))

    curve = learning_curve(None, dataset, compared, seed=0)

    assert (curve.verdict, curve.points) == ("left_out", [])
    assert "can be trained again" in curve.why_left_out


def test_a_part_that_teaches_nothing_is_left_out(world):
    judged = world(4, prompts=300)
    dataset = split(judged, 400)

    def refit(part: RewardDataset):
        raise NotEnoughData("Nothing in it is good; collect more.")

    compared = Compared.of(dataset.test_pairs, Rewards(judged.model(length=0, noise=1, seed=0)))

    assert learning_curve(refit, dataset, compared, seed=0).verdict == "left_out"


def test_a_part_holds_whole_groups_and_leaves_the_held_out_rows_alone():
    pairs = [PreferencePair("p", f"a{at}", "b", group=str(at % 3)) for at in range(9)]
    tie = TiedPair("p", ("a", "b"), "tie", "2", "row")
    dataset = RewardDataset(pairs, pairs[:1], [], [], "sha256:test", train_ties=[tie])

    part = part_of(dataset, {"0", "1"})

    assert {pair.group for pair in part.train_pairs} == {"0", "1"}
    assert len(part.train_pairs) == 6
    assert (list(part.train_ties), len(part.test_pairs)) == ([], 1)


def test_an_encoder_that_remembers_gives_the_same_vectors():
    encoder = open_encoder(default_encoder_folder())
    remembering = RememberingEncoder(encoder)
    ids = [[101, 7592, 102], [101, 2088, 999, 102]]

    remembering.embed(ids[:1])
    again = remembering.embed([ids[1], ids[0], ids[1]])

    assert np.abs(again - encoder.embed([ids[1], ids[0], ids[1]])).max() < 1e-6
    assert (remembering.dim, remembering.engine) == (encoder.dim, encoder.engine)
    assert again[0] == pytest.approx(again[2])
