"""Checkpoints that a run may go on from: those of the same start and the same rewards."""

import json
import shutil
from pathlib import Path

from services.trainer.policies.rewards import Rewards
from services.trainer.policies.sources import uses

_STARTED_FROM = "started-from.json"


def checkpoints_of(folder: Path, base_sha256: str, rewards: Rewards | None) -> Path:
    """The folder of a run's checkpoints, without those that were made of something else.

    `policy@champion` and `reward@champion` may mean other versions than when the run began: what
    was half learned from one would be ended with the other, and the lineage would name the last.

    Args:
        folder: where the run works.
        base_sha256: hash of the policy it starts from.
        rewards: what it learns from; None where it only learns from what people said.
    """
    work = folder / "checkpoints"
    marker = work / _STARTED_FROM
    learned = [use.model_dump(mode="json") for use in uses(rewards)]
    wanted = json.dumps({"base": base_sha256, "rewards": learned})
    if work.exists() and not (marker.is_file() and marker.read_text("utf-8") == wanted):
        shutil.rmtree(work)
    work.mkdir(exist_ok=True)
    marker.write_text(wanted, "utf-8")
    return work
