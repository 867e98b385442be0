"""A small world: helpful and rude responses to questions on the way somewhere, judged by people.

The policy knows its words and nothing more; the reward model is the embedding model that anybody
trains, fitted on these judgements.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny_policy import save_tiny_policy

from services.trainer.backbones import resolve_backbone
from services.trainer.examples import PreferencePair, RatedResponse, RewardDataset
from services.trainer.policies.data import PolicyData, policy_data
from services.trainer.policies.generation import write
from services.trainer.policies.opening import Opened, open_policy
from services.trainer.policies.params import PolicyParams
from services.trainer.policies.rewards import Part, Rewards, Source, judged_by
from services.trainer.recipes import embedding_reward, sft
from shared.ml.artifact import load_scorer

SECRET = b"a secret of at least thirty-two bytes"
PLACES = (
    "station", "river", "market", "museum", "school", "harbour", "park", "church", "bridge",
    "library", "castle", "garden", "theatre", "tower", "mill", "beach",
)  # fmt: skip
HELD = 4
GOOD = (
    "gladly take the bus to the {} and ask me again if you need more help",
    "of course walk along the street and you will find the {} on your left",
)
BAD = ("no idea go away and stop asking silly questions about the {}", "who cares about the {}")


def asked(place: str) -> str:
    return f"please how do I get to the {place}"


def judged(places: Sequence[str]) -> tuple[list[PreferencePair], list[RatedResponse]]:
    """Of each place two comparisons and four ratings."""
    pairs = [
        PreferencePair(
            asked(place), chosen=good.format(place), rejected=bad.format(place), group=place
        )
        for place in places
        for good, bad in zip(GOOD, BAD, strict=True)
    ]
    rated = [
        RatedResponse(asked(place), text.format(place), stars, place, f"{place} {stars} {text[:9]}")
        for place in places
        for texts, stars in ((GOOD, 5.0), (BAD, 1.0))
        for text in texts
    ]
    return pairs, rated


@pytest.fixture(scope="session")
def world() -> RewardDataset:
    """What people said, four places of it held out."""
    train, held = judged(PLACES[HELD:]), judged(PLACES[:HELD])
    return RewardDataset(train[0], held[0], train[1], held[1], "sha256:world")


@pytest.fixture(scope="session")
def data(world: RewardDataset) -> PolicyData:
    """The same as policies learn from it."""
    return policy_data(world)


@pytest.fixture(scope="session")
def rewards(world: RewardDataset, tmp_path_factory: pytest.TempPathFactory) -> Rewards:
    """The embedding reward model that was trained on what people said."""
    folder = tmp_path_factory.mktemp("reward") / "model"
    embedding_reward.train(
        world, embedding_reward.EmbeddingParams(), output=folder, secret=SECRET,
        progress=lambda *_: None, code_version="test",
    )  # fmt: skip
    scorer = load_scorer(folder, secret=SECRET, verify=False)
    return Rewards([Part(Source("reward"), judged_by(scorer))])


@pytest.fixture(scope="session")
def blank(world: RewardDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that knows the words and has learned nothing."""
    texts = [text for pair in [*world.train_pairs, *world.test_pairs]
             for text in (pair.prompt, pair.chosen, pair.rejected)]  # fmt: skip
    return save_tiny_policy(tmp_path_factory.mktemp("blank"), texts)


@pytest.fixture(scope="session")
def speaker(blank: Path, world: RewardDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that speaks like people did, kind and rude alike."""
    folder = tmp_path_factory.mktemp("speaker")
    both = [
        pair.__class__(pair.prompt, chosen=text, rejected="x", group=pair.group)
        for pair in world.train_pairs
        for text in (pair.chosen, pair.rejected)
    ]
    said = policy_data(RewardDataset(both, world.test_pairs, [], [], "sha256:both"))
    params = sft.SftParams(base_model=str(blank), epochs=12, learning_rate=3e-3, save_steps=10_000)
    opened = opened_policy(params, folder / "tokenizer")
    tuned = sft.train(opened, said, params, work=folder / "work", progress=lambda *_: None)
    tuned.model.save_pretrained(folder / "model")
    opened.text.tokenizer.save_pretrained(folder / "model")
    return folder / "model"


def opened_policy(params: PolicyParams, folder: Path) -> Opened:
    """The policy that the parameters start from."""
    folder.mkdir(parents=True)
    return open_policy(resolve_backbone(params.base_model), params, folder)


Train = Callable[..., tuple[Opened, Any]]


@pytest.fixture
def train(tmp_path: Path, data: PolicyData) -> Train:
    """Trains by a recipe; gives the policy as it was opened, and what became of it."""

    def train(recipe: Any, params: PolicyParams, name: str = "run", **more: Any) -> Any:
        folder = tmp_path / name
        opened = opened_policy(params, folder / "tokenizer")
        more.setdefault("progress", lambda *_: None)
        (folder / "work").mkdir()
        return opened, recipe.train(opened, data, params, work=folder / "work", **more)

    return train


def held_rewards(model: Any, opened: Opened, data: PolicyData, rewards: Rewards) -> np.ndarray:
    """Rewards of sixteen responses to each held-out prompt."""
    torch.manual_seed(5)
    prompts = [prompt for prompt in data.held.prompts for _ in range(16)]
    return rewards(prompts, write(model, opened.text, prompts, most=24).texts)
