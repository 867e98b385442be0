"""A run whose start or rewards mean something else by now does not end what it began."""

from pathlib import Path

import pytest
from support.tiny_policy import TEXTS, save_tiny_policy

from services.trainer.backbones import ResolvedBackbone
from services.trainer.policies.resuming import checkpoints_of
from services.trainer.policies.rewards import Part, Rewards, Source


@pytest.fixture
def source(tmp_path: Path) -> ResolvedBackbone:
    return ResolvedBackbone("policy@champion", save_tiny_policy(tmp_path / "one"))


def learned_from(sha256: str) -> Rewards:
    return Rewards([Part(Source("reward@champion"), lambda *_: [], sha256)])


def test_checkpoints_of_the_same_start_and_reward_stay(tmp_path: Path, source):
    begun = checkpoints_of(tmp_path, source, learned_from("a")) / "checkpoint-3"
    begun.mkdir()

    checkpoints_of(tmp_path, source, learned_from("a"))

    assert begun.is_dir()


@pytest.mark.parametrize("other", ["start", "reward"])
def test_checkpoints_of_another_start_or_reward_go(tmp_path: Path, source, other: str):
    begun = checkpoints_of(tmp_path, source, learned_from("a")) / "checkpoint-3"
    begun.mkdir()
    promoted = save_tiny_policy(tmp_path / "other", TEXTS[:9])

    if other == "start":
        checkpoints_of(tmp_path, ResolvedBackbone(source.name, promoted), learned_from("a"))
    else:
        checkpoints_of(tmp_path, source, learned_from("b"))

    assert not begun.exists()
