"""The commands client applications had before Heed; each is one of `heed` under its old name.

What is typed comes after the old defaults, so it wins over them.
"""

import sys

from heed_cli.main import main

_PREFERENCES = "rlhf/data/preferences.jsonl"


def prepare_dataset() -> None:
    """`prepare_dataset --feedback-db URL --output FILE`."""
    main(["dataset", "prepare", "--output", _PREFERENCES, *sys.argv[1:]])


def train_reward_model() -> None:
    """`train_reward_model --base-model M --dataset F --output D --epochs N --batch-size N`."""
    defaults = ["--dataset", _PREFERENCES, "--output", "rlhf/models/reward_model"]
    main(["train", "reward", *defaults, *sys.argv[1:]])


def train_reward_sbert() -> None:
    """`train_reward_sbert`, with settings from the environment."""
    main(["train", "sbert", *sys.argv[1:]])
