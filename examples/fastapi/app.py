"""A FastAPI application that shows the best of several responses and takes stars for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel, Field

from heed_client import AsyncHeed
from heed_client.rerank import AsyncReranker


class Question(BaseModel):
    prompt: str


class Shown(BaseModel):
    interaction_id: str
    response: str


class Judgement(BaseModel):
    stars: int = Field(ge=1, le=5)
    rater: str


def candidates(prompt: str) -> list[str]:
    """What your models would say."""
    return [f"I cannot say much about: {prompt}", f"Here is what is known about: {prompt}"]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, object]]:
    """HEED_URL, HEED_REWARD_URL and HEED_API_KEY say where the services are."""
    async with AsyncHeed() as heed:
        reranker = AsyncReranker()
        yield {"heed": heed, "reranker": reranker}
        await reranker.close()


def _heed(request: Request) -> AsyncHeed:
    return request.state.heed  # type: ignore[no-any-return]


def _reranker(request: Request) -> AsyncReranker:
    return request.state.reranker  # type: ignore[no-any-return]


HeedDep = Annotated[AsyncHeed, Depends(_heed)]
RerankerDep = Annotated[AsyncReranker, Depends(_reranker)]
app = FastAPI(title="Heed example", lifespan=lifespan)


@app.post("/ask")
async def ask(question: Question, heed: HeedDep, reranker: RerankerDep) -> Shown:
    """The response that people would find best; the first one while no model is trained."""
    async with heed.interaction(question.prompt, agent_name="fastapi-example") as it:
        best, *_ = await reranker.rerank(question.prompt, candidates(question.prompt))
        it.respond(best["text"])
    return Shown(interaction_id=it.interaction_id, response=best["text"])


@app.post("/feedback/{interaction_id}")
async def feedback(interaction_id: str, judgement: Judgement, heed: HeedDep) -> dict[str, str]:
    """Store what a person thinks of it."""
    stored = await heed.feedback.stars(
        judgement.stars, interaction_id=interaction_id, rater_id=judgement.rater
    )
    return {"feedback_id": stored.feedback_id}
