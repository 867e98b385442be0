"""Text Embeddings Inference: `/rerank` with `texts`, `/predict`, `/similarity`, `/info`.

The root path takes what each of them takes, as an inference endpoint does, so that the clients of
`huggingface_hub` need to know no path.
"""

import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse

from services.reward_service.deps import Service
from services.reward_service.dialects.asking import (
    AskerDep,
    best_first,
    known,
    not_ready,
    numbers,
    reply,
    taken_apart,
    tokens_of,
    window_of,
)
from services.reward_service.dialects.full_text import split
from services.reward_service.dialects.tei_bodies import (
    Options,
    PredictBody,
    RerankBody,
    SimilarityBody,
    TeiForm,
)
from services.reward_service.limits import refuse_too_many
from services.reward_service.live_models import LiveModel
from services.reward_service.scoring import Scored, reason_for
from shared.errors import Detail, TooLarge
from shared.ml.scorer import Pair

LABEL = "LABEL_0"  # what transformers calls the one output of a model

router = APIRouter(route_class=TeiForm, include_in_schema=False)


@router.post("/rerank")
async def rerank(asker: AskerDep, body: RerankBody) -> JSONResponse:
    """A bare list, best first: the score, 0-1, or the raw reward."""
    started = time.perf_counter()
    scored = known(await asker.rerank(body.query, body.texts, "/texts"))
    _refuse_cut(scored, body, "/texts")
    values = numbers(scored, raw=body.raw_scores)
    kept = best_first(scored)[: body.top_n or len(body.texts)]
    ranks: list[dict[str, Any]] = [{"index": at, "score": values[at]} for at in kept]
    if body.return_text:
        ranks = [{**rank, "text": body.texts[rank["index"]]} for rank in ranks]
    return _timed(ranks, scored, _characters(body.query, body.texts), started)


@router.post("/predict")
async def predict(asker: AskerDep, body: PredictBody) -> JSONResponse:
    """Of each input a list with the one label the model has, and its score."""
    started = time.perf_counter()
    refuse_too_many(len(body.inputs), "/inputs", asker.service.settings)
    asker.refuse_long(
        "/inputs", ((at, text) for at, texts in enumerate(body.inputs) for text in texts)
    )
    scored = await asker.score(await taken_apart(_pair, body.inputs), "/inputs")
    _refuse_cut(scored, body, "/inputs")
    found = [[{"score": each, "label": LABEL}] for each in numbers(scored, raw=body.is_raw)]
    characters = sum(len(text) for texts in body.inputs for text in texts)
    return _timed(found if body.is_nested else found[0], scored, characters, started)


@router.post("/similarity")
async def similarity(asker: AskerDep, body: SimilarityBody) -> JSONResponse:
    """Scores of the sentences as responses to the first, in their order."""
    started = time.perf_counter()
    query, texts = body.inputs.source_sentence, body.inputs.sentences
    scored = known(await asker.rerank(query, texts, "/inputs/sentences"))
    _refuse_cut(scored, body, "/inputs/sentences")
    values = numbers(scored, raw=body.raw_scores)
    return _timed(values, scored, _characters(query, texts), started)


@router.post("/")
async def any_of_them(
    asker: AskerDep, body: RerankBody | PredictBody | SimilarityBody
) -> JSONResponse:
    """Whichever of the three the body asks for."""
    if isinstance(body, RerankBody):
        return await rerank(asker, body)
    if isinstance(body, SimilarityBody):
        return await similarity(asker, body)
    return await predict(asker, body)


@router.get("/info")
async def info(asker: AskerDep) -> dict[str, Any]:
    """What serves, as far as it has a meaning here."""
    slot = await asker.service.live.resolve(asker.caller.principal.project_id, None)
    if slot.model is None:
        raise not_ready(reason_for(slot))
    return _info(slot.model, asker.service)


def _info(model: LiveModel, service: Service) -> dict[str, Any]:
    settings = service.settings
    return {
        "model_id": f"{model.name}@{model.version}",
        "model_sha": model.sha256,
        "model_type": {"reranker": {"id2label": {"0": LABEL}, "label2id": {LABEL: 0}}},
        "max_input_length": window_of(model),
        "max_batch_tokens": settings.reward_batch_tokens,
        "max_client_batch_size": settings.reward_max_texts,
        "auto_truncate": True,
        "tokenization_workers": settings.reward_workers,
        "version": version("heed-rlhf"),
    }


def _pair(text: str, response: str | None = None) -> Pair:
    return split(text) if response is None else Pair(text, response)


def _refuse_cut(scored: Scored, options: Options, where: str) -> None:
    """Pass texts that were read whole, or that may be cut.

    Raises:
        TooLarge: one is longer than the model reads, and must not be cut.
    """
    if options.truncate is False and scored.scores.truncated.any():
        pointer = f"{where}/{scored.scores.truncated.argmax()}"
        what = "is longer than the model reads, or what it responds to is"
        raise TooLarge(
            f"{pointer} {what}; send `truncate` as true, or less text.",
            errors=(Detail(pointer, "too_large", what),),
        )


def _characters(query: str, texts: Sequence[str]) -> int:
    """How many characters TEI counts: the query with each text."""
    return len(query) * len(texts) + sum(map(len, texts))


def _timed(content: object, scored: Scored, characters: int, started: float) -> JSONResponse:
    """The reply with TEI's account of it; the time of scoring holds what the queue took."""
    elapsed_ms = str(round((time.perf_counter() - started) * 1000))
    headers = {
        "x-compute-time": elapsed_ms,
        "x-total-time": elapsed_ms,
        "x-inference-time": elapsed_ms,
        "x-compute-characters": str(characters),
        "x-compute-tokens": str(tokens_of(scored)),
    }
    return reply(content, scored, headers)
