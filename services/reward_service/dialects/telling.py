"""Whose client a request comes from, where several servers share a path: told by its body.

Pure rules over a path and the names in a body, so that they can be read, and tested, as a table.
"""

from collections.abc import Mapping
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from services.reward_service.config import RewardSettings


class Dialect(StrEnum):
    """Whose shapes a request and its reply have."""

    COHERE = "cohere"
    TEI = "tei"
    VLLM = "vllm"
    INFINITY = "infinity"
    SGLANG = "sglang"
    OPENRLHF = "openrlhf"
    VERL = "verl"
    NEMO = "nemo"


RERANK_PATHS = frozenset({"/rerank", "/v1/rerank", "/v2/rerank"})
FORKS = RERANK_PATHS | {"/score", "/classify"}

_NATIVE = frozenset({"return", "weights"})
_VLLM_SCORE = frozenset({"queries", "data_1", "text_1"})
# What Cohere, Jina and vLLM know in a re-ranking, and Heed does not.
_OTHERS = frozenset(
    {
        "activation",
        "cache_salt",
        "instruction",
        "max_chunks_per_doc",
        "max_doc_length",
        "max_query_length",
        "max_tokens_per_doc",
        "max_tokens_per_query",
        "mm_processor_kwargs",
        "priority",
        "rank_fields",
        "return_embeddings",
        "truncate_prompt_tokens",
        "truncation",
        "truncation_side",
        "use_activation",
    }
)


def tell(path: str, body: object, settings: RewardSettings) -> Dialect | None:
    """The dialect of a body that came to one of `FORKS`; None means the path's own shape."""
    if not isinstance(body, Mapping):
        return None
    names = body.keys()
    if path == "/score":
        return Dialect.VLLM if names & _VLLM_SCORE and "inputs" not in names else None
    if path == "/classify":
        return _tell_classify(body)
    if path == "/rerank" and "texts" in names and "documents" not in names:
        return Dialect.TEI
    return _tell_rerank(path, body, settings)


def is_foreign(model: str, settings: RewardSettings) -> bool:
    """Whether a name in `model` is another server's, so that the live model is meant.

    The registry is not asked: a name means the same whatever has been registered since.
    """
    return any(fnmatchcase(model, pattern) for pattern in settings.reward_foreign_models)


def _tell_classify(body: Mapping[str, Any]) -> Dialect | None:
    if "text" in body and "input" not in body:
        return Dialect.SGLANG
    return Dialect.INFINITY if "raw_scores" in body else None


def _tell_rerank(path: str, body: Mapping[str, Any], settings: RewardSettings) -> Dialect | None:
    names, model = body.keys(), body.get("model")
    if names & _NATIVE:
        return None
    if path == "/v1/rerank" and settings.reward_v1_rerank == "sglang":
        return Dialect.SGLANG
    if "raw_scores" in names:
        return Dialect.INFINITY
    if names & _OTHERS:
        return Dialect.COHERE
    if not isinstance(model, str) or not model:
        return None
    is_theirs = path != "/rerank" or is_foreign(model, settings)
    return Dialect.COHERE if is_theirs else None
