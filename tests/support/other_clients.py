"""Asks one reward service with the clients of others, in an environment of theirs; prints JSON.

`python other_clients.py URL KEY` reads `{"query": …, "documents": […]}`. Each client's finding is
the indices of the documents, best first, and their scores; or what it raised.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # noqa: TID251 - read by a library
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # noqa: TID251 - else it is fetched
URL, KEY = sys.argv[1:]
ASKED = json.load(sys.stdin)
Finding = list[list[float]]


def litellm(provider: str) -> Finding:
    """LiteLLM's `rerank` as one provider's; the model's name is that provider's, too."""
    import litellm

    names = {"cohere": "rerank-v3.5", "jina_ai": "jina-reranker-v2-base-multilingual"}
    found = litellm.rerank(
        model=f"{provider}/{names.get(provider, 'BAAI/bge-reranker-base')}",
        query=ASKED["query"],
        documents=ASKED["documents"],
        top_n=len(ASKED["documents"]),
        api_base=f"{URL}/infinity" if provider == "infinity" else URL,
        api_key=KEY,
        num_retries=0,
    )
    return [[result["index"], result["relevance_score"]] for result in found.results]


def haystack(ranker: str) -> Finding:
    """One of Haystack's rankers."""
    from haystack import Document
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.cohere import CohereRanker
    from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker
    from haystack_integrations.components.rankers.jina import JinaRanker

    key = Secret.from_token(KEY)
    rankers = {
        "tei": lambda: HuggingFaceTEIRanker(url=URL, token=key),
        "cohere": lambda: CohereRanker(api_base_url=URL, api_key=key),
        "jina": lambda: JinaRanker(base_url=f"{URL}/v1/rerank", api_key=key),
    }
    documents = [
        Document(content=text, meta={"at": at}) for at, text in enumerate(ASKED["documents"])
    ]
    found = rankers[ranker]().run(query=ASKED["query"], documents=documents)["documents"]
    return [[document.meta["at"], document.score] for document in found]


def attempt(ask: Callable[[], Finding]) -> Any:
    """What a client found, or what it raised."""
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
        return f"{type(error).__name__}: {error}"


CLIENTS: dict[str, Callable[[], Finding]] = {
    "litellm cohere": lambda: litellm("cohere"),
    "litellm jina_ai": lambda: litellm("jina_ai"),
    "litellm infinity": lambda: litellm("infinity"),
    "litellm huggingface": lambda: litellm("huggingface"),
    "litellm hosted_vllm": lambda: litellm("hosted_vllm"),
    "haystack tei": lambda: haystack("tei"),
    "haystack cohere": lambda: haystack("cohere"),
    "haystack jina": lambda: haystack("jina"),
}

if __name__ == "__main__":
    json.dump({name: attempt(ask) for name, ask in CLIENTS.items()}, sys.stdout)
