"""What the trainer's image does with the words it is given: `docker compose run trainer train ppo`.

`train`, `score` and other sub-commands of `heed` are said without `heed`; `train` alone is how
SageMaker starts a container; anything else is a command as it stands.
"""

import os
import sys
from pathlib import Path

_OF_HEED = frozenset({"dataset", "evaluate", "models", "policy", "report", "schedules", "score",
                      "train"})  # fmt: skip
_SAGEMAKER = Path("/opt/ml/input")


def main() -> None:
    """Become the command that the words mean."""
    command = command_of(sys.argv[1:], is_sagemaker=_SAGEMAKER.is_dir())
    os.execvp(command[0], command)


def command_of(words: list[str], *, is_sagemaker: bool) -> list[str]:
    """The command that the words mean; none means the worker."""
    if not words:
        return ["python", "-m", "services.trainer"]
    if words == ["train"] and is_sagemaker:
        return ["python", "-m", "services.trainer.launchers.sagemaker"]
    return ["heed", *words] if words[0] in _OF_HEED else words
