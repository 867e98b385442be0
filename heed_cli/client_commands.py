"""The commands client applications had before Heed; each is one of `heed` under its old name.

What is typed comes after the old defaults, so it wins over them.
"""

import sys

from heed_cli.main import main

_PREFERENCES = "rlhf/data/preferences.jsonl"
_PPO_PARAMETERS = {
    "--mini-batch-size": "mini_batch_size",
    "--gradient-accumulation-steps": "gradient_accumulation",
    "--ppo-epochs": "ppo_epochs",
    "--target-kl": "target_kl",
}


def prepare_dataset() -> None:
    """`prepare_dataset --feedback-db URL --output FILE`."""
    main(["dataset", "prepare", "--output", _PREFERENCES, *sys.argv[1:]])


def train_reward_model() -> None:
    """`train_reward_model --base-model M --dataset F --output D --epochs N --batch-size N`."""
    defaults = ["--dataset", _PREFERENCES, "--output", "rlhf/models/reward_model"]
    main(["train", "reward", *defaults, *sys.argv[1:]])


def train_ppo() -> None:
    """`train_ppo --base-model M --reward-model D --output D --epochs N`, and how PPO steps."""
    defaults = ["--base-model", "gpt2", "--output", "rlhf/models/ppo_model"]
    main(["train", "ppo", *defaults, *_as_heed_says(sys.argv[1:])])


def _as_heed_says(typed: list[str]) -> list[str]:
    """The old flags of PPO as options of `heed train ppo`; the others are the same."""
    words = iter([part for word in typed for part in _parts(word)])
    said: list[str] = []
    for word in words:
        if word == "--reward-model":
            said.append("--reward")
        elif word in _PPO_PARAMETERS:
            said += ["--set", f"{_PPO_PARAMETERS[word]}={next(words, '')}"]
        else:
            said.append(word)
    return said


def _parts(word: str) -> list[str]:
    """`--flag=value` as two words."""
    flag, equals, value = word.partition("=")
    return [flag, value] if equals and flag in (*_PPO_PARAMETERS, "--reward-model") else [word]


def train_reward_sbert() -> None:
    """`train_reward_sbert`, with settings from the environment."""
    main(["train", "sbert", *sys.argv[1:]])
