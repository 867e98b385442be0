"""What is fitted beside a transformer's reward, on vectors whose truth is planted."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import spearmanr

from services.trainer.audit.learning import FEWEST_COMPARED, MOST_JUDGED
from services.trainer.evidence import collect_items
from services.trainer.examples import PreferencePair, RatedResponse, RewardDataset
from services.trainer.heads import fit_weights
from services.trainer.recipes.transformer_reward import _curve_texts
from services.trainer.transformer.judgements import (
    FEWEST_TO_PART,
    HeldBack,
    Judgement,
    Kind,
    collect_judgements,
    part_held,
    validation_split,
)
from services.trainer.transformer.self_knowledge import (
    MOST_READ,
    Learned,
    SelfKnowledge,
    _drawn_groups,
    know_itself,
)
from shared.ml.head import RewardHead
from shared.ml.last_layer import VECTOR
from shared.ml.scorer import Pair, Scores

WIDTH = 8
SPREAD = np.linspace(2.0, 0.3, WIDTH)
TRUTH = np.array([1.0, -1.0, 0.5, 0.5, 0.0, 0.0, 0.5, -0.5])


@dataclass
class PlantedModel:
    """A model whose last layer knows the truth; the vector of a response is in its text."""

    head: RewardHead

    def rewards_and_vectors(self, pairs):
        vectors = np.array([vector_of(pair) for pair in pairs], dtype=np.float32)
        return vectors @ self.head.weights, vectors


def text(vector: np.ndarray) -> str:
    return " ".join(f"{number:.6f}" for number in vector)


def vector_of(pair: Pair) -> np.ndarray:
    return np.array(pair.response.split(), dtype=float)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def compared(count: int, *, seed: int = 0) -> list[PreferencePair]:
    """Comparisons by the truth, one a prompt."""
    draw = np.random.default_rng(seed)
    sides = draw.normal(size=(count, 2, WIDTH)) * SPREAD
    wins = draw.random(count) < sigmoid((sides[:, 0] - sides[:, 1]) @ TRUTH)
    return [
        PreferencePair(f"p{at}", text(pair[1 - won]), text(pair[int(won)]), group=f"g{at}")
        for at, (pair, won) in enumerate(zip(sides, wins, strict=True))
    ]


def rated(count: int, *, seed: int = 1) -> list[RatedResponse]:
    """Stars by the truth; tone follows the fifth number alone."""
    draw = np.random.default_rng(seed)
    vectors = draw.normal(size=(count, WIDTH)) * SPREAD
    stars = 1 + np.round(4 * sigmoid(vectors @ TRUTH))
    tone = 1 + np.round(4 * sigmoid(2 * vectors[:, 4]))
    return [
        RatedResponse(
            f"p{at}", text(vectors[at]), stars[at], f"g{at}", f"r{at}", aspects={"tone": tone[at]}
        )
        for at in range(count)
    ]


def learned_from(dataset: RewardDataset) -> Learned:
    kept, held = validation_split(collect_judgements(dataset), seed=0)
    return Learned(dataset, kept, part_held(held, seed=0), collect)


def collect(part: RewardDataset):
    return collect_items(
        part.train_pairs, part.train_rated, aspects=part.train_aspects, ratings_as="levels"
    )


def known_of(dataset: RewardDataset) -> SelfKnowledge:
    head = RewardHead(VECTOR, TRUTH, 0.0)
    return know_itself(PlantedModel(head), head, learned_from(dataset), good_rating=4.0, seed=0)


@pytest.fixture(scope="module")
def pairs() -> list[PreferencePair]:
    return compared(900)


@pytest.fixture(scope="module")
def known(pairs) -> SelfKnowledge:
    return known_of(RewardDataset(pairs, [], [], [], "sha256:test"))


def test_a_reward_far_from_training_is_doubted_more_than_one_near(known):
    near = np.random.default_rng(5).normal(size=(50, WIDTH)) * SPREAD

    deviations = [known.last_layer.posterior.deviations(reach * near) for reach in (0.5, 1, 4)]

    assert (deviations[0] < deviations[1]).all()
    assert (deviations[2] > 3 * deviations[1]).all()


def test_doubt_ranks_rewards_as_last_layers_fitted_to_other_prompts_differ(pairs, known):
    asked = np.random.default_rng(6).normal(size=(200, WIDTH))  # not spread as training was
    learned = learned_from(RewardDataset(pairs, [], [], [], "sha256:test"))
    draw, rewards = np.random.default_rng(7), []
    for _ in range(30):
        drawn = draw.integers(len(learned.kept), size=len(learned.kept))
        again = [pairs[int(learned.kept[at].group[1:])] for at in drawn]
        items = collect(RewardDataset(again, [], [], [], ""))
        rows = np.array([vector_of(item) for item in items.pairs])
        fit = fit_weights(rows, items.evidence, items.groups, grid=(1.0,), seed=0)
        rewards.append(asked @ fit.weights)

    doubted = known.last_layer.posterior.deviations(asked)

    found = np.std(rewards, axis=0)
    assert spearmanr(doubted, found).statistic > 0.8
    assert 0.6 < np.median(doubted / found) < 1.6


def test_an_aspect_is_learned_beside_the_reward_and_measured_on_prompts_held_back():
    rows = rated(500)

    known = known_of(RewardDataset([], [], rows, [], "sha256:test"))

    report, head = known.report, known.last_layer.head
    assert known.fields["aspects"] == ("tone",)
    assert head.aspects["tone"][4] == max(head.aspects["tone"][:WIDTH])
    assert (head.weights == TRUTH).all()
    assert report["aspect_tone_responses"] == 100  # a fifth of them
    assert report["aspect_tone_correlation"] > 0.8


def test_an_aspect_that_only_held_back_prompts_have_is_not_learned():
    rows = rated(500)
    held = learned_from(RewardDataset([], [], rows, [], "")).held
    bare = [
        row if Pair(row.prompt, row.response) in held.groups else without_aspects(row)
        for row in rows
    ]

    known = known_of(RewardDataset([], [], bare, [], "sha256:test"))

    assert known.fields["aspects"] == ()
    assert known.last_layer.head is None


def without_aspects(row: RatedResponse) -> RatedResponse:
    return RatedResponse(row.prompt, row.response, row.rating, row.group, row.row_id)


def test_of_much_feedback_a_part_is_read_and_counts_for_all_of_it():
    learned = learned_from(RewardDataset(compared(3000), [], [], [], "sha256:test"))

    drawn, share = _drawn_groups(learned, 0)

    assert 2 * len(drawn) == MOST_READ
    assert share == pytest.approx(MOST_READ / 4800)  # two responses of each of 2,400 prompts


def test_a_part_of_the_feedback_doubts_about_as_much_as_all_of_it(monkeypatch, pairs, known):
    monkeypatch.setattr("services.trainer.transformer.self_knowledge.MOST_READ", 720)

    part = known_of(RewardDataset(pairs, [], [], [], "sha256:test"))

    asked = np.random.default_rng(6).normal(size=(200, WIDTH)) * SPREAD
    ratio = part.last_layer.posterior.deviations(asked) / known.last_layer.posterior.deviations(
        asked
    )
    assert 0.8 < np.median(ratio) < 1.25


def test_half_of_enough_held_back_prompts_calibrates_and_chose_nothing():
    held = [
        Judgement(Kind.WIN, (Pair("p", f"a{at}"), Pair("p", f"b{at}")), f"g{at % FEWEST_TO_PART}")
        for at in range(3 * FEWEST_TO_PART)
    ]

    parts = part_held(held, seed=0)

    chose, told = ({one.group for one in part} for part in (parts.choosing, parts.calibrating))
    assert parts.is_parted
    assert chose.isdisjoint(told)
    assert len(chose) == len(told) == FEWEST_TO_PART // 2
    assert len(parts.choosing) + len(parts.calibrating) == len(held)
    assert part_held(held, seed=0) == parts


def test_fewer_held_back_prompts_do_both():
    held = [
        Judgement(Kind.WIN, (Pair("p", "a"), Pair("p", "b")), f"g{at}")
        for at in range(FEWEST_TO_PART - 1)
    ]

    parts = part_held(held, seed=0)

    assert not parts.is_parted
    assert parts.choosing == parts.calibrating == held


def test_what_chose_the_step_says_nothing_of_what_a_reward_means(pairs):
    """Where the model is wrong about every prompt that chose, it is calibrated all the same."""
    dataset = RewardDataset(pairs, [], [], [], "sha256:test")
    kept, held = validation_split(collect_judgements(dataset), seed=0)
    turned = [Judgement(one.kind, one.items[::-1], one.group) for one in held[:90]]
    head = RewardHead(VECTOR, TRUTH, 0.0)

    plain, misled = (
        know_itself(
            PlantedModel(head), head,
            Learned(dataset, kept, HeldBack(choosing, held[90:]), collect),
            good_rating=4.0, seed=0,
        )
        for choosing in (held[:90], turned)
    )  # fmt: skip

    assert misled.fields["calibration"] == plain.fields["calibration"]
    assert misled.report["calibrated_on"] == "own_prompts"
    assert misled.report["calibrated_prompts"] == 90


def test_a_model_without_a_single_last_layer_says_no_more_than_what_a_reward_means(pairs, known):
    class Scorer(PlantedModel):
        def score(self, items):
            rewards, _ = self.rewards_and_vectors(items)
            return Scores(rewards, rewards, rewards > 0, np.ones(len(items), dtype=np.int64))

    learned = learned_from(RewardDataset(pairs, [], [], [], "sha256:test"))
    scorer = Scorer(RewardHead(VECTOR, TRUTH, 0.0))

    bare = know_itself(scorer, None, learned, good_rating=4.0, seed=0)

    assert (bare.last_layer, bare.files) == (None, {})
    assert set(bare.fields) == {"calibration", "conformal"}
    assert bare.fields["calibration"].slope == pytest.approx(known.fields["calibration"].slope)


def test_a_prompt_with_more_judgements_than_a_curve_takes_leaves_the_curve_out():
    crowded = [
        RatedResponse("p", str(at), 1 + at % 5, "g", f"r{at}") for at in range(2 * MOST_JUDGED + 1)
    ]
    dataset = RewardDataset([], compared(FEWEST_COMPARED), crowded, [], "sha256:test")

    assert _curve_texts(dataset, collect) == []
