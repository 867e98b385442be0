"""Other servers' clients, and the requests they document, point here unchanged."""

import time

import cohere
import httpx
import huggingface_hub.constants
import pytest
import requests
from huggingface_hub import InferenceClient, close_session
from huggingface_hub.errors import HfHubHTTPError

from tests.reward_service.conftest import PROMPT
from tests.reward_service.dialects.conftest import TEXTS, Live

MARKED = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>\n"
JSON_HEADERS = {"Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def hub_allowed(monkeypatch):
    """Where the hub is forbidden, its client calls nobody: no server of ours either."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def connections():
    """Connections that are closed at the end; the SDKs leave theirs to the garbage collector."""
    with httpx.Client() as http:
        yield http
    close_session()


async def test_the_cohere_sdk_re_ranks(live, near, aside, connections):
    client = cohere.ClientV2(api_key=live.key, base_url=live.url, httpx_client=connections)

    found = await aside(client.rerank, model="rerank-v3.5", query=PROMPT, documents=TEXTS, top_n=3)

    assert [result.index for result in found.results] == live.order[:3]
    assert [result.relevance_score for result in found.results] == near(
        [live.scores[at] for at in live.order[:3]]
    )
    assert found.id.startswith("dec_")
    assert found.meta.billed_units.search_units == 1


async def test_the_old_cohere_sdk_and_its_async_one_re_rank(live, aside, connections):
    old = cohere.Client(api_key=live.key, base_url=live.url, httpx_client=connections)
    asked = {"model": "rerank-english-v3.0", "query": PROMPT, "documents": TEXTS}

    first = await aside(lambda: old.rerank(**asked, return_documents=True))
    async with httpx.AsyncClient() as http:
        new = cohere.AsyncClientV2(api_key=live.key, base_url=live.url, httpx_client=http)
        second = await new.rerank(**asked)

    assert [result.document.text for result in first.results] == [TEXTS[at] for at in live.order]
    assert [result.index for result in second.results] == live.order


async def test_the_cohere_sdk_knows_our_refusals(live, aside, connections):
    stranger = cohere.ClientV2(api_key="heed_no", base_url=live.url, httpx_client=connections)
    ours = cohere.ClientV2(api_key=live.key, base_url=live.url, httpx_client=connections)

    with pytest.raises(cohere.UnauthorizedError):
        await aside(stranger.rerank, model="rerank-v3.5", query=PROMPT, documents=TEXTS)
    with pytest.raises(cohere.NotFoundError) as missing:
        await aside(ours.rerank, model="reward@99", query=PROMPT, documents=TEXTS)
    assert "reward@99" in missing.value.body["message"]


@pytest.mark.parametrize("path", ["", "/", "/predict", "/tei/predict"])
async def test_the_client_of_hugging_face_classifies(live, near, aside, path, connections):
    client = InferenceClient(model=f"{live.url}{path}", token=live.key)

    (label,) = await aside(client.text_classification, MARKED.format(PROMPT, TEXTS[1]))
    (raw,) = await aside(
        lambda: client.text_classification(
            MARKED.format(PROMPT, TEXTS[1]), function_to_apply="none"
        )
    )

    assert (label.label, label.score) == ("LABEL_0", near(live.scores[1]))
    assert raw.score == near(live.raws[1])


@pytest.mark.parametrize("path", ["", "/similarity"])
async def test_the_client_of_hugging_face_compares_sentences(live, near, aside, path, connections):
    client = InferenceClient(model=f"{live.url}{path}", token=live.key)

    found = await aside(client.sentence_similarity, PROMPT, TEXTS)

    assert found == near(live.scores)


async def test_the_client_of_hugging_face_knows_our_refusals(live, aside, connections):
    client = InferenceClient(model=live.url, token="heed_no_key")

    with pytest.raises(HfHubHTTPError) as refused:
        await aside(client.text_classification, "a text")
    assert refused.value.response.status_code == 401


async def test_requests_as_vllm_documents_them(live, near, aside):
    def post(path: str, **body: object) -> dict:
        headers = {"accept": "application/json", "Authorization": f"Bearer {live.key}"}
        reply = requests.post(f"{live.url}{path}", headers=headers, json=body, timeout=60)
        reply.raise_for_status()
        return reply.json()

    bge = "BAAI/bge-reranker-v2-m3"
    one = await aside(
        post, "/score", model=bge, encoding_format="float", queries=PROMPT, documents=TEXTS[1]
    )
    paired = await aside(post, "/score", model=bge, queries=[PROMPT] * 4, documents=TEXTS)
    ranked = await aside(post, "/rerank", model=bge, query=PROMPT, documents=TEXTS)
    classified = await aside(post, "/classify", model=bge, input=TEXTS)
    pooled = await aside(post, "/pooling", model="reward", input="vLLM is great!")

    assert one["data"][0]["score"] == near(live.scores[1])
    assert [item["score"] for item in paired["data"]] == near(live.scores)
    assert ranked["results"][0]["document"]["text"] == TEXTS[live.order[0]]
    assert ranked["results"][0]["relevance_score"] == near(max(live.scores))
    assert len(classified["data"]) == len(TEXTS)
    assert len(pooled["data"][0]["data"]) == 1


async def test_requests_as_infinity_documents_them(live, near, aside):
    def post(path: str, **body: object) -> dict:
        headers = {"Authorization": f"Bearer {live.key}"}
        reply = requests.post(f"{live.url}{path}", headers=headers, json=body, timeout=60)
        reply.raise_for_status()
        return reply.json()

    ranked = await aside(
        post, "/rerank", model="default/not-specified", query=PROMPT, documents=TEXTS,
        return_documents=False, raw_scores=False, top_n=2,
    )  # fmt: skip
    classified = await aside(
        post, "/classify", model="default/not-specified", input=TEXTS, raw_scores=False
    )

    assert ranked["object"] == "rerank"
    assert [result["index"] for result in ranked["results"]] == live.order[:2]
    assert ranked["usage"]["total_tokens"] > 0
    assert classified["data"][0][0].keys() == {"score", "label"}


def ask_as_openrlhf(url: str, body: dict) -> list[float]:
    """What OpenRLHF's remote reward does: five tries a second apart, then the run ends."""
    for _ in range(5):
        try:
            reply = requests.post(url=url, json=body, headers=JSON_HEADERS, timeout=180)
            reply.raise_for_status()
            found = reply.json()
        except requests.RequestException:
            time.sleep(1)
            continue
        assert "rewards" in found
        return found["rewards"]
    raise RuntimeError("Request error for 5 times.")


async def test_openrlhf_brings_its_key_in_the_url(live, near, aside):
    """Its client has no place for a header; `requests` makes one of the URL's password."""
    url = live.url.replace("http://", f"http://key:{live.key}@") + "/get_reward"
    prompt = f"<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\n"
    body = {
        "query": [f"{prompt}{text}<|im_end|>\n" for text in TEXTS],
        "prompts": [prompt] * len(TEXTS),
        "labels": [None] * len(TEXTS),
    }

    assert await aside(ask_as_openrlhf, url, body) == near(live.raws)


async def ask_as_verl(live: Live, endpoint: str, payload: dict) -> dict:
    """What veRL's reward loop does: a 4xx ends the run, a 5xx is tried again, 16 times in all."""
    address = live.url.removeprefix("http://")
    async with httpx.AsyncClient(auth=("key", live.key), timeout=None) as client:
        for _ in range(16):
            reply = await client.post(f"http://{address}/{endpoint}", json=payload)
            if reply.status_code < 500:
                reply.raise_for_status()
                return reply.json()
    raise RuntimeError("Max retries (16) reached.")


@pytest.mark.parametrize("name", ["activation", "use_activation"])
async def test_verl_reads_the_raw_reward_where_vllm_has_it(live, near, name):
    payload = {"model": "~/models/Skywork-Reward", "input": MARKED.format(PROMPT, TEXTS[1])}

    found = await ask_as_verl(live, "classify", {**payload, name: False})

    assert found["data"][-1]["probs"][-1] == near(live.raws[1])


async def test_verl_reads_the_raw_reward_where_sglang_has_it(live, near):
    payload = {"model": "~/models/Skywork-Reward", "input": MARKED.format(PROMPT, TEXTS[1])}

    found = await ask_as_verl(live, "v1/embeddings", payload)

    assert found["data"][-1]["embedding"][-1] == near(live.raws[1])
