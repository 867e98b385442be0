"""The entry point, run as SageMaker runs a container: by environment, files and folders."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.tiny_bert import save_tiny_bert

from services.trainer.config import LauncherKind
from services.trainer.launchers import sagemaker
from shared.contracts.training import RunKind

PAIRS = [
    {
        "prompt": f"what is the {'sky' if at % 2 else 'sea'} {at}",
        "chosen": "kind" + " and" * (at % 3),
        "rejected": "rude" + " and" * (at % 3),
    }
    for at in range(60)
]


@pytest.fixture
def container(tmp_path: Path, as_settings, monkeypatch) -> Callable[..., Path]:
    """Lays /opt/ml out with these hyperparameters; the folder."""

    def lay_out(**hyperparameters: object) -> Path:
        place = tmp_path / "ml"
        for name in ("input/config", "input/data/training", "model", "checkpoints"):
            (place / name).mkdir(parents=True)
        config = place / "input/config/hyperparameters.json"
        config.write_text(json.dumps({key: str(value) for key, value in hyperparameters.items()}))
        lines = "".join(json.dumps(pair) + "\n" for pair in PAIRS)
        (place / "input/data/training/preferences.jsonl").write_text(lines)
        for name, folder in {
            "SM_MODEL_DIR": "model",
            "SM_CHANNEL_TRAINING": "input/data/training",
            "SM_INPUT_CONFIG_DIR": "input/config",
            "SM_OUTPUT_DIR": "output",
            "SM_CHECKPOINT_DIR": "checkpoints",
        }.items():
            monkeypatch.setenv(name, str(place / folder))
        monkeypatch.setenv("TRAINING_JOB_NAME", "heed-42")
        return place

    return lay_out


async def test_a_job_leaves_its_model_where_sagemaker_takes_it_from(container, tmp_path):
    tiny = save_tiny_bert(tmp_path / "tiny bert")
    place = container(**{
        "kind": "reward_transformer", "base-model": tiny, "epochs": 1, "max_tokens": 24,
        "head_first": "false", "evaluations_per_epoch": 1,
    })  # fmt: skip

    ending = await asyncio.to_thread(sagemaker.main)

    manifest = json.loads((place / "model/heed/reward_model.json").read_text())
    assert ending == 0
    assert manifest["parameters"]["epochs"] == 1
    assert manifest["parameters"]["head_first"] is False
    assert not (place / "output/failure").exists()
    assert any((place / "checkpoints/artifacts").iterdir()), "where a spot instance finds it again"


def test_a_job_that_cannot_be_done_says_why_where_sagemaker_shows_it(container):
    place = container(kind="magic")

    ending = sagemaker.main()

    assert ending == 1
    assert "`kind` is one of reward_embedding" in (place / "output/failure").read_text()


def test_several_gpus_train_what_can_be_spread_and_one_trains_the_rest(container, monkeypatch):
    container(kind="reward_transformer")
    monkeypatch.setenv("SM_NUM_GPUS", "4")

    job = sagemaker.SageMakerJob()

    spread = job.settings(RunKind.REWARD_TRANSFORMER)
    assert (spread.launcher, spread.world_size) == (LauncherKind.TORCHRUN, 4)
    assert job.settings(RunKind.REWARD_EMBEDDING).launcher is LauncherKind.LOCAL
    assert job.queue == "sagemaker-heed-42"
