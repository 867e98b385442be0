"""Clients that cannot share our environment, in one of their own: `make test-clients`."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.reward_service.conftest import PROMPT

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / "build/clients/bin/python"
SCRIPT = ROOT / "tests/support/other_clients.py"
DOCUMENTS = [
    "Stop whining, nobody has time for your silly questions.",
    "Rest, drink water and call your doctor if the fever lasts more than three days.",
    "Drink water.",
]

CLIENTS = (
    "litellm cohere",
    "litellm jina_ai",
    "litellm infinity",
    "litellm huggingface",
    "litellm hosted_vllm",
    "haystack tei",
    "haystack cohere",
    "haystack jina",
)


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON.exists(), reason="make test-clients installs them")
async def test_litellm_and_haystack_rank_with_every_provider(live, near):
    asked = {"query": PROMPT, "documents": DOCUMENTS}
    native = (await live.post("/rerank", asked)).json()["results"]
    expected = [[result["index"], near(result["relevance_score"])] for result in native]

    client = await asyncio.create_subprocess_exec(
        PYTHON, SCRIPT, live.url, live.key,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(240):
        found, _ = await client.communicate(json.dumps(asked).encode())

    assert json.loads(found.decode().splitlines()[-1]) == dict.fromkeys(CLIENTS, expected)
