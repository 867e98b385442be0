"""The demo's client: posts and re-ranks over HTTP like an application, and counts what fails."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx

from heed_cli.demo.posts import Post
from heed_cli.demo.ranking import Probe
from shared.errors import InvalidInput, Unavailable

_CONNECTIONS = 16
_TRIES, _PAUSE_S = 40, 0.5
_TIMEOUT_S = 60.0
_BREATH_S = 0.25  # between two requests of the background client, which is not a load test


@dataclass(frozen=True)
class Ranked:
    """A reply of `/rerank`: indices best first, who ranked, and how long it took."""

    order: list[int]
    version: int | None
    ms: float


class Traffic:
    """One application with its key. Use it as an async context manager."""

    def __init__(self, feedback_url: str, reward_url: str, token: str) -> None:
        self._feedback_url, self._reward_url = feedback_url, reward_url
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {token}"},
            limits=httpx.Limits(max_connections=_CONNECTIONS + 4),
            timeout=_TIMEOUT_S,
            trust_env=False,
        )
        self.requests = 0
        self.failed = 0

    async def __aenter__(self) -> "Traffic":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def post_all(self, posts: Sequence[Post], on_reply: Callable[[], None]) -> int:
        """Post over several connections at once; how many were acknowledged.

        Raises:
            InvalidInput: one was refused; the message names its place.
            Unavailable: the feedback API does not answer.
        """
        waiting = iter(posts)

        async def connection() -> int:
            acknowledged = 0
            for post in waiting:
                acknowledged += await self._post(post)
                on_reply()
            return acknowledged

        tasks = [asyncio.create_task(connection()) for _ in range(_CONNECTIONS)]
        try:
            return sum(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def rerank(self, prompt: str, responses: Sequence[str]) -> Ranked:
        """The responses in the order of the live model.

        Raises:
            Unavailable: the reward service does not answer.
        """
        began = time.perf_counter()
        body = {"query": prompt, "documents": list(responses)}
        reply = await self._ask("POST", f"{self._reward_url}/rerank", json=body)
        if reply is None or not reply.is_success:
            raise Unavailable(f"/rerank replied {reply.status_code if reply else 'nothing'}.")
        said = reply.json()
        order = [int(result["index"]) for result in said["results"]]
        model = said.get("model")
        ms = (time.perf_counter() - began) * 1000
        return Ranked(order, int(model["version"]) if model else None, ms)

    async def live_version(self) -> int | None:
        """The version that is live now, None when none is or nobody answers."""
        reply = await self._ask("GET", f"{self._reward_url}/models/live")
        model = reply.json()["model"] if reply is not None and reply.is_success else None
        return int(model["version"]) if model else None

    async def _post(self, post: Post) -> bool:
        """A retry carries the same key, so that one post never becomes two rows."""
        headers = {"Idempotency-Key": f"heed-demo {post.place}"}
        for _ in range(_TRIES):
            url = f"{self._feedback_url}/{post.kind}"
            reply = await self._ask("POST", url, json=post.body, headers=headers)
            if reply is not None and reply.is_success:
                return True
            if reply is not None and reply.status_code < 500 and reply.status_code != 429:
                raise InvalidInput(f"{post.place} was refused: {_explained(reply)}")
            await asyncio.sleep(_PAUSE_S)
        raise Unavailable("The feedback API does not answer: `heed logs feedback_api` says more.")

    async def _ask(self, method: str, url: str, **given: Any) -> httpx.Response | None:
        self.requests += 1
        try:
            reply = await self._http.request(method, url, **given)
        except httpx.HTTPError:
            reply = None
        self.failed += reply is None or reply.status_code >= 500
        return reply


def _explained(reply: httpx.Response) -> str:
    """What a problem says, with the places it names."""
    try:
        problem = reply.json()
        places = [f"{item['pointer']} {item['detail']}" for item in problem.get("errors", [])]
        return "; ".join(places) or str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {reply.status_code}"


@dataclass
class Background:
    """What a client saw that kept asking for rankings all the time."""

    requests: int = 0
    failed: int = 0
    versions: tuple[int | None, ...] = ()


@asynccontextmanager
async def keep_ranking(traffic: Traffic, probes: Sequence[Probe]) -> AsyncIterator[Background]:
    """Meanwhile, ask for one ranking after the other; the tally is complete at the end."""
    seen, stop = Background(), asyncio.Event()

    async def ask() -> None:
        while not stop.is_set():
            prompt, responses = probes[seen.requests % len(probes)]
            seen.requests += 1
            try:
                ranked = await traffic.rerank(prompt, responses)
            except Unavailable:
                seen.failed += 1
            else:
                if ranked.version not in seen.versions:
                    seen.versions += (ranked.version,)
            await asyncio.sleep(_BREATH_S)

    task = asyncio.create_task(ask())
    try:
        yield seen
    finally:
        stop.set()
        await task
