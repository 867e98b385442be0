"""The second reward model: from held-out feedback alone, or none."""

import numpy as np

from services.trainer.examples import PreferencePair, RatedResponse, RewardDataset
from services.trainer.policies.gold import gold_model

KIND, RUDE = "Gladly: here is how to get there.", "No idea, and nobody cares; go away."


def compared(count: int, *, honest: float = 1.0, seed: int = 0) -> list[PreferencePair]:
    """Kind responses are preferred to rude ones, in this share of the comparisons."""
    rng = np.random.default_rng(seed)
    pairs = []
    for at in range(count):
        sides = [f"{text} Case {at}." for text in (KIND, RUDE)]
        chosen, rejected = sides if rng.random() < honest else sides[::-1]
        prompt = f"How do I get to place {at}?"
        pairs.append(PreferencePair(prompt, chosen=chosen, rejected=rejected, group=f"group {at}"))
    return pairs


def world(held: list[PreferencePair]) -> RewardDataset:
    return RewardDataset(compared(30, honest=0.0), held, [], [], "sha256:world")


def test_it_knows_what_people_said_of_held_out_prompts_and_nothing_else():
    """On the training side people prefer the opposite, which it must not have heard."""
    judge = gold_model(world(compared(60)), seed=1)

    kind, rude = judge(["How do I get to the museum?"] * 2, [KIND, RUDE])

    assert kind > rude


def test_with_too_little_held_out_there_is_none():
    assert gold_model(world(compared(20)), seed=1) is None


def test_one_that_learned_nothing_is_none():
    assert gold_model(world(compared(60, honest=0.5, seed=3)), seed=1) is None


def test_people_who_only_rated_make_one_too():
    rated = [
        RatedResponse(pair.prompt, text, stars, pair.group, f"row {at}")
        for at, pair in enumerate(compared(60))
        for text, stars in [(pair.chosen, 5.0) if at % 2 else (pair.rejected, 1.0)]
    ]

    judge = gold_model(RewardDataset(compared(30), [], [], rated, "sha256:rated"), seed=1)

    kind, rude = judge(["How do I get to the museum?"] * 2, [KIND, RUDE])
    assert kind > rude
