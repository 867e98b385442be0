"""Numbers of pairs and of whole texts: which number, under which name, in which order."""

import base64
import struct

import pytest

from tests.reward_service.conftest import PROMPT
from tests.reward_service.dialects.conftest import TEXTS

RENDERED = [
    f"<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\n{text}<|im_end|>\n"
    for text in TEXTS
]
MESSAGES = [
    {"role": "user", "content": [{"type": "text", "text": PROMPT}]},
    {"role": "assistant", "content": TEXTS[1]},
]
ALIASES = [
    ("queries", "documents"),
    ("queries", "items"),
    ("data_1", "data_2"),
    ("text_1", "text_2"),
]


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
@pytest.mark.parametrize(("first", "second"), ALIASES)
async def test_vllm_scores_one_prompt_with_many_responses(live, near, path, first, second):
    reply = await live.post(path, {"model": "x/y", first: PROMPT, second: TEXTS})

    body = reply.json()
    assert [item["index"] for item in body["data"]] == [0, 1, 2, 3]
    assert [item["score"] for item in body["data"]] == near(live.scores)
    assert {item["object"] for item in body["data"]} == {"score"}
    assert (body["object"], body["model"]) == ("list", "reward@1")
    assert body["usage"]["total_tokens"] > 0


async def test_vllm_scores_as_many_prompts_as_responses_raw(live, near):
    reply = await live.post(
        "/score", {"queries": [PROMPT] * 4, "documents": TEXTS, "use_activation": False}
    )

    assert [item["score"] for item in reply.json()["data"]] == near(live.raws)


async def test_vllm_refuses_lists_that_do_not_fit(live):
    reply = await live.post("/score", {"queries": ["a", "b"], "documents": ["c"] * 3})

    assert reply.status_code == 400
    assert "2 and 3" in reply.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/classify", "/v1/classify"])
@pytest.mark.parametrize(
    ("asked", "numbers"),
    [({}, "scores"), ({"use_activation": False}, "raws"), ({"activation": False}, "raws")],
)
async def test_vllm_classifies_whole_texts(live, near, path, asked, numbers):
    reply = await live.post(path, {"input": RENDERED, **asked})

    data = reply.json()["data"]
    assert [item["probs"][-1] for item in data] == near(getattr(live, numbers))
    assert {(item["label"], item["num_classes"]) for item in data} == {("good", 1)}


async def test_vllm_pools_the_raw_reward_of_a_chat(live, near):
    reply = await live.post("/pooling", {"messages": MESSAGES})
    chance = await live.post("/pooling", {"messages": MESSAGES, "use_activation": True})

    (item,) = reply.json()["data"]
    assert (item["object"], item["data"]) == ("pooling", near([live.raws[1]]))
    assert chance.json()["data"][0]["data"] == near([live.scores[1]])


async def test_vllm_names_the_models_that_requests_may_name(live):
    reply = await live.client.get("/v1/models")

    model, *_ = reply.json()["data"]
    assert (model["id"], model["root"]) == ("reward", "reward@1")


async def test_the_last_number_of_an_embedding_is_the_raw_reward(live, near):
    plain = await live.post("/v1/embeddings", {"model": "x/y", "input": RENDERED})
    packed = await live.post(
        "/v1/embeddings", {"model": "x/y", "input": RENDERED[1], "encoding_format": "base64"}
    )

    assert [item["embedding"][-1] for item in plain.json()["data"]] == near(live.raws)
    (raw,) = struct.unpack("<f", base64.b64decode(packed.json()["data"][0]["embedding"]))
    assert raw == near(live.raws[1])


@pytest.mark.parametrize(("raw", "numbers"), [(True, "raws"), (False, "scores")])
async def test_infinity_classifies_with_a_list_for_each_text(live, near, raw, numbers):
    reply = await live.post("/classify", {"input": RENDERED, "raw_scores": raw})

    body = reply.json()
    assert body["object"] == "classify"
    assert [label["score"] for (label,) in body["data"]] == near(getattr(live, numbers))


async def test_sglang_classifies_text_as_an_embedding(live, near):
    several = await live.post("/classify", {"model": "x/y", "text": RENDERED})
    one = await live.post("/classify", {"model": "x/y", "text": RENDERED[1]})

    assert [item["embedding"][0] for item in several.json()] == near(live.raws)
    assert one.json()["embedding"] == near([live.raws[1]])


@pytest.mark.parametrize("path", ["/predict", "/"])
@pytest.mark.parametrize(
    "inputs", [RENDERED[1], [RENDERED[1]], [PROMPT, TEXTS[1]]], ids=["text", "list", "pair"]
)
async def test_tei_predicts_one_input(live, near, path, inputs):
    reply = await live.post(path, {"inputs": inputs})

    assert reply.json() == [{"score": near(live.scores[1]), "label": "LABEL_0"}]


async def test_tei_predicts_a_batch_of_texts_and_pairs(live, near):
    inputs = [[RENDERED[0]], [PROMPT, TEXTS[1]], [PROMPT, TEXTS[2]]]

    reply = await live.post("/predict", {"inputs": inputs, "raw_scores": True})

    assert [label["score"] for (label,) in reply.json()] == near(live.raws[:3])


@pytest.mark.parametrize("path", ["/similarity", "/"])
async def test_tei_compares_sentences_with_one(live, near, path):
    inputs = {"source_sentence": PROMPT, "sentences": TEXTS}

    reply = await live.post(path, {"inputs": inputs})

    assert reply.json() == near(live.scores)


async def test_the_root_re_ranks_texts(live):
    reply = await live.post("/", {"query": PROMPT, "texts": TEXTS})

    assert [rank["index"] for rank in reply.json()] == live.order


async def test_tei_tells_what_serves(live):
    info = await live.client.get("/info")
    health = await live.client.get("/health")

    assert info.json()["model_id"] == "reward@1"
    assert info.json()["max_input_length"] > 0
    assert (health.status_code, health.content) == (200, b"")


@pytest.mark.parametrize("prompts", [None, [PROMPT] * 4], ids=["marks", "prompts"])
async def test_openrlhf_gets_raw_rewards_of_whole_texts(live, near, prompts):
    body = {"query": RENDERED, "labels": [None] * 4}
    if prompts is not None:
        body = {"query": [f"{PROMPT}{text}" for text in TEXTS], "prompts": prompts, "labels": []}

    reply = await live.post("/get_reward", body)

    assert reply.json() == {"rewards": near(live.raws), "scores": near(live.scores)}


async def test_nemo_gets_each_raw_reward_in_a_row(live, near):
    body = {"prompts": [PROMPT] * 4, "responses": TEXTS}

    plain = await live.post("/reward_model_judge", body)
    weighed = await live.post(
        "/reward_model_judge", {**body, "format_rewards": [0.0, 1.0, 0.5, 1.0]}
    )

    assert plain.json()["rewards"] == [[near(raw)] for raw in live.raws]
    assert weighed.json()["rewards"][0] == [-100.0]
    assert weighed.json()["rewards"][2] == [near(live.raws[2] / 2)]
