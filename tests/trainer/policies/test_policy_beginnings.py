"""A run whose start or rewards mean something else by now does not end what it began."""

from pathlib import Path

import pytest

from services.trainer.policies.resuming import checkpoints_of
from services.trainer.policies.rewards import Part, Rewards, Source


def learned_from(sha256: str) -> Rewards:
    return Rewards([Part(Source("reward@champion"), lambda *_: [], sha256)])


def test_checkpoints_of_the_same_start_and_reward_stay(tmp_path: Path):
    begun = checkpoints_of(tmp_path, "one", learned_from("a")) / "checkpoint-3"
    begun.mkdir()

    checkpoints_of(tmp_path, "one", learned_from("a"))

    assert begun.is_dir()


@pytest.mark.parametrize("other", ["start", "reward"])
def test_checkpoints_of_another_start_or_reward_go(tmp_path: Path, other: str):
    begun = checkpoints_of(tmp_path, "one", learned_from("a")) / "checkpoint-3"
    begun.mkdir()

    if other == "start":
        checkpoints_of(tmp_path, "another", learned_from("a"))
    else:
        checkpoints_of(tmp_path, "one", learned_from("b"))

    assert not begun.exists()
