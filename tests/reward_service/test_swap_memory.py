"""Memory after many swaps, measured in a process of its own, as the system sees it."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from shared.artifacts import FolderStore
from tests.support.tiny_transformer import tiny_transformer

SECRET = b"a secret that is long enough for tests"

SWAPS = """
import asyncio, json, os, sys, uuid
from pathlib import Path
from types import SimpleNamespace
from functools import partial
from prometheus_client import CollectorRegistry
from services.reward_service.live_models import LiveModels
from services.reward_service.loading import How, load_version
from services.reward_service.memory import Budget
from services.reward_service.metrics import ServingMetrics
from services.reward_service.references import Reference
from shared.artifacts import FolderStore
from shared.ml.embedding_cache import EmbeddingCache
from shared.ml.scorer import Pair

root, swaps, *artifacts = json.loads(sys.argv[1])
PAIRS = [Pair("How are you?", "word " * count) for count in range(1, 60, 7)]


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def main() -> None:
    versions = [
        SimpleNamespace(
            id=uuid.uuid4(), name="reward", version=number, project_id=1, sha256=sha256, uri=uri
        )
        for number, (uri, sha256) in enumerate(artifacts, 1)
    ]
    now = {"version": versions[0]}

    async def find(reference):
        return now["version"]

    how = How(FolderStore(Path(root)), b"SECRET", "fp32", wrap=EmbeddingCache(1_000_000).wrap)
    live = LiveModels(
        find, partial(load_version, how=how), ServingMetrics(CollectorRegistry()),
        default=Reference(1, "reward"), budget=Budget(4), poll_s=0.02,
    )
    following = asyncio.create_task(live.follow())
    resident = []
    for swap in range(swaps):
        now["version"] = versions[swap % len(versions)]
        live.look_again()
        slot = await live.resolve(1, None)
        while slot.model is None or slot.model.id != now["version"].id:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(slot.model.scorer.score, PAIRS)
        await asyncio.sleep(0.2)  # two looks at the registry: what was freed is given back
        resident.append(resident_mb())
    following.cancel()
    print(json.dumps(resident))


asyncio.run(main())
"""


@pytest.fixture
def two_large_models(tmp_path: Path) -> list[tuple[str, str]]:
    """Two stored transformers of 47 megabytes whose weights differ."""
    store = FolderStore(tmp_path / "store")
    stored = []
    for seed in (1, 2):
        folder = tmp_path / f"model-{seed}"
        tiny_transformer(folder, secret=SECRET, model=_large_model(seed))
        stored.append(store.put_folder(folder))
    return stored


def _large_model(seed: int) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=30522, hidden_size=384, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=512, max_position_embeddings=64, num_labels=1,
    )  # fmt: skip
    return BertForSequenceClassification(config).eval()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's own figures")
async def test_memory_returns_to_what_it_was_after_swaps(two_large_models, tmp_path: Path):
    arguments = json.dumps([str(tmp_path / "store"), 9, *two_large_models])
    code = SWAPS.replace("SECRET", SECRET.decode())

    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code, arguments],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    resident = json.loads(done.stdout.splitlines()[-1])
    assert resident[-1] < resident[0] * 1.1, resident
