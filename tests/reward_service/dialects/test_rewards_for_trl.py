"""Rewards for TRL: one for each response, of one version, or an error; and a training with them."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from heed_client import HeedMisuse, HeedProblem, HeedUnreachable
from heed_client.rewards import reward_function
from tests.reward_service.conftest import PROMPT
from tests.reward_service.dialects.conftest import TEXTS

USER = {"role": "user", "content": PROMPT}


def spoken(text: str) -> list[dict]:
    return [{"role": "assistant", "content": text}]


@asynccontextmanager
async def replying(*bodies: dict) -> AsyncIterator[str]:
    """The URL of a service whose replies are these, one after the other."""
    left = iter(bodies)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
        content = json.dumps(next(left)).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n")
        writer.write(b"content-length: %d\r\n\r\n" % len(content) + content)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_plain_texts_get_their_raw_rewards(live, near):
    reward = reward_function(live.url, api_key=live.key)

    found = await reward([PROMPT] * 4, TEXTS, completion_ids=[[1]] * 4, trainer_state=None)

    assert found == near(live.raws)
    assert reward.__name__ == "heed"


async def test_conversations_get_the_same(live, near):
    reward = reward_function(live.url, api_key=live.key, number="score")

    found = await reward(prompts=[[USER]] * 4, completions=[spoken(text) for text in TEXTS])

    assert found == near(live.scores)


async def test_messages_before_the_last_belong_to_the_prompt(live, near):
    called = {"role": "assistant", "content": None, "tool_calls": [{}]}
    tool = {"role": "tool", "content": [{"type": "text", "text": "38.5 C"}]}
    response = {"role": "assistant", "content": TEXTS[1]}
    messages = [USER, {**called, "content": ""}, {**tool, "content": "38.5 C"}]
    reply = await live.post(
        "/score", {"inputs": [{"messages": messages, "response": TEXTS[1]}], "return": ["raw"]}
    )

    reward = reward_function(live.url, api_key=live.key)
    found = await reward([[USER]], [[called, tool, response]])
    plain = await reward([PROMPT], [[called, tool, response]])

    assert found == plain == near([reply.json()["results"][0]["raw"]])


async def test_a_large_batch_is_asked_for_in_parts_and_keeps_its_order(live, near):
    reward = reward_function(live.url, api_key=live.key)

    found = await reward([PROMPT] * 203, [TEXTS[at % 4] for at in range(203)])

    assert found == near([live.raws[at % 4] for at in range(203)])


async def test_long_responses_are_asked_for_in_bodies_that_the_service_takes(live, near):
    long = "é" * 12_000  # all of them in one body would be more than a megabyte
    reward = reward_function(live.url, api_key=live.key)

    found = await reward([PROMPT] * 61, [long, TEXTS[1], "e" * 99_000] + [long] * 58)

    assert found[0] == near(found[3]) == near(found[-1])
    assert found[1] == near(live.raws[1])


async def test_an_empty_batch_and_an_empty_response_are_no_errors(live):
    reward = reward_function(live.url, api_key=live.key)

    assert await reward([], []) == []
    assert len(await reward([PROMPT, [USER]], ["", []])) == 2


async def test_no_rewards_at_all_are_an_error(serve, monkeypatch):
    async with serve() as client:
        key = client.http.headers["Authorization"].removeprefix("Bearer ")
        monkeypatch.setenv("HEED_REWARD_URL", str(client.http.base_url))
        monkeypatch.setenv("HEED_API_KEY", key)
        with pytest.raises(HeedProblem, match="promote") as problem:
            await reward_function()([PROMPT], TEXTS[:1])

    assert problem.value.code == "no_rewards"


async def test_rewards_for_some_responses_alone_are_an_error():
    """A model that is promoted in between must not leave holes, which count as 0 in training."""
    nothing = {"model": None, "results": [{"score": None}] * 100, "reason": "promote one"}
    model = {"name": "reward", "version": 1}
    async with replying(nothing, {"model": model, "results": [{"raw": 1.0}] * 3}) as url:
        with pytest.raises(HeedProblem, match="promote one"):
            await reward_function(url, api_key="key")([PROMPT] * 103, ["a"] * 103)


async def test_a_service_that_refuses_or_is_away_ends_the_training(live):
    missing = reward_function(live.url, api_key=live.key, model="reward@99")
    away = reward_function("http://127.0.0.1:9", api_key=live.key, deadline_s=0.2)

    with pytest.raises(HeedProblem, match="unknown_model"):
        await missing([PROMPT], TEXTS[:1])
    with pytest.raises(HeedUnreachable):
        await away([PROMPT], TEXTS[:1])
    with pytest.raises(HeedMisuse):
        reward_function("no url", api_key="key")


async def test_a_full_queue_is_waited_for(serve, live_kind):
    texts = [
        f"Drink water and rest, says the doctor of case {number}. " * 5 for number in range(30)
    ]
    async with serve(reward_queue_tokens=1024, reward_workers=1) as client:
        await client.until_live(1)
        key = client.http.headers["Authorization"].removeprefix("Bearer ")
        reward = reward_function(str(client.http.base_url), api_key=key)
        batches = await asyncio.gather(*(reward([PROMPT] * 30, texts) for _ in range(2)))
        refused = (await client.get("/metrics")).text.split("\nheed_reward_refused_total ")[1]

    assert all(len(batch) == 30 for batch in batches)
    assert float(refused.split("\n")[0]) > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
async def test_grpo_trains_on_our_rewards(live, aside, tmp_path):
    logged, moved = await aside(train_with_grpo, live.url, live.key, tmp_path)

    rewards = [row["rewards/heed/mean"] for row in logged if "rewards/heed/mean" in row]
    assert len(rewards) == 2
    assert all(math.isfinite(reward) for reward in rewards)
    assert moved


def train_with_grpo(url: str, key: str, folder: Path) -> tuple[list[dict], bool]:
    """Two steps of GRPO with a policy of a few thousand weights: its log, and if weights moved."""
    import torch
    from datasets import Dataset
    from support.tiny_bert import WORDS
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from trl import GRPOConfig, GRPOTrainer

    vocabulary = {word: at for at, word in enumerate(WORDS)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="[UNK]", eos_token="[SEP]", pad_token="[PAD]"
    )
    torch.manual_seed(1)
    policy = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=32, max_position_embeddings=64,
            eos_token_id=vocabulary["[SEP]"], pad_token_id=vocabulary["[PAD]"],
        )
    )  # fmt: skip
    before = policy.lm_head.weight.detach().clone()
    config = GRPOConfig(
        output_dir=str(folder), per_device_train_batch_size=4, num_generations=4, max_steps=2,
        max_completion_length=8, logging_steps=1, save_strategy="no", report_to=[], use_cpu=True,
        learning_rate=1e-2, bf16=False, disable_tqdm=True,
    )  # fmt: skip
    trainer = GRPOTrainer(
        policy,
        reward_funcs=reward_function(url, api_key=key, model="reward@1"),
        args=config,
        train_dataset=Dataset.from_list([{"prompt": " ".join(WORDS[5:9])}] * 8),
        processing_class=tokenizer,
    )
    trainer.train()
    return trainer.state.log_history, not torch.equal(before, trainer.model.lm_head.weight)
