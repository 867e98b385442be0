"""Two processes of torchrun train one run as one does, by the commands of workers and hosts."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from support.tiny_bert import save_tiny_bert

from services.trainer.execution import train_here
from shared.contracts.training import RunKind, TrainingRequest
from shared.db.tables import ModelVersion, TrainingRun

pytestmark = pytest.mark.slow
LONG = "NO RAY: `make test-ray` runs the long tests of many processes"


@pytest.fixture
def request_of(tmp_path: Path) -> Callable[..., TrainingRequest]:
    """A transformer reward run of a few seconds."""
    folder = save_tiny_bert(tmp_path / "tiny bert")
    config = folder / "config.json"
    without = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config.write_text(json.dumps(json.loads(config.read_text()) | without))  # it is drawn by rank

    def make(**recipe: Any) -> TrainingRequest:
        small = {
            "base_model": str(folder), "epochs": 2, "learning_rate": 3e-3, "max_tokens": 24,
            "head_first": False, "evaluations_per_epoch": 1, "patience": 9, "logging_steps": 1,
        }  # fmt: skip
        return TrainingRequest(kind=RunKind.REWARD_TRANSFORMER, recipe=small | recipe)

    return make


@pytest.fixture(autouse=True)
async def posts(insert, polite) -> None:
    """60 judgements to learn from and 16 to validate on: whole batches on both sides."""
    await insert(*polite(95))


@pytest.fixture
def version_of(sessions) -> Callable[[TrainingRun], Awaitable[ModelVersion]]:
    """The model of a run that has succeeded."""

    async def read(run: TrainingRun) -> ModelVersion:
        async with sessions() as session:
            found = await session.get_one(TrainingRun, run.id)
            assert (found.status, found.error) == ("succeeded", None)
            return await session.get_one(ModelVersion, found.model_version_id)

    return read


@pytest.mark.parametrize(
    "hosts",
    [1, pytest.param(2, marks=pytest.mark.skipif(find_spec("ray") is None, reason=LONG))],
)
async def test_two_processes_reach_the_loss_of_one_with_the_same_global_batch(
    settings, version_of, request_of, claimed, start, *, hosts
):
    url = settings.database_url.get_secret_value()
    one = await asyncio.to_thread(train_here, settings, url, request_of(batch_size=4))

    run = await claimed(request_of(batch_size=2))
    if hosts == 1:
        started = [await start(run)]
    else:
        started = [await start(run, host=0), await start(None, host=1)]
    endings = [await process.wait() for process in started]

    two = await version_of(run)
    names = ("train_loss", "validation_loss", "learned_from")
    assert endings == [0] * hosts
    assert [two.metrics[name] for name in names] == pytest.approx(
        [one.version.metrics[name] for name in names], rel=1e-5
    )
