"""Sends posts in batches, again while the feedback API is busy, and says what became of each."""

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx

from heed_cli.exchange.patience import Patience
from heed_cli.exchange.posts import Json, Post
from shared.errors import Conflict, Forbidden, InvalidInput, Unauthenticated, Unavailable

MAX_ITEMS = 500
MAX_BYTES = 512 * 1024  # half of what the feedback API takes unless told otherwise
BATCHES = 4  # at once: half of what the feedback API takes, so that others find room beside us
SINGLES = 8
_PATHS = {"feedback": "/feedback/batch", "preference": "/preference/batch"}
_BUSY = (429, 502, 503, 504)
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Item:
    """One post on its way: the row it comes from, and its body in JSON."""

    number: int
    post: Post
    body: bytes


@dataclass(frozen=True)
class Outcome:
    """What became of one item: 201 stored, 200 there already, anything else refused."""

    item: Item
    status: int
    problem: Json | None = None


def to_item(number: int, post: Post) -> Item:
    """A post ready to be sent."""
    body = json.dumps(post.body, ensure_ascii=True, separators=(",", ":"), allow_nan=True)
    return Item(number, post, body.encode())


class Sender:
    """The connections to one feedback API. Use it as an async context manager."""

    def __init__(
        self, url: str, key: str, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        if not _is_url(url):
            raise InvalidInput(f"{url} is not a URL such as http://127.0.0.1:8000.")
        self._url = url
        self._batches, self._singles = asyncio.Semaphore(BATCHES), asyncio.Semaphore(SINGLES)
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"},
            limits=httpx.Limits(max_connections=BATCHES + SINGLES),
            timeout=_TIMEOUT_S,
            trust_env=False,
            transport=transport,
        )

    async def __aenter__(self) -> "Sender":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def require_welcome(self) -> None:
        """Pass when the API answers and the key may write.

        Raises:
            Unavailable: nobody answers.
            HeedError: the key is not valid or lacks the scope.
        """
        try:
            reply = await self._post("/feedback/batch", b"[]", "application/json")
        except httpx.HTTPError:
            raise Unavailable(
                f"No feedback API answers at {self._url}: start it with `heed up`, or name "
                "another one with --url."
            ) from None
        _raise_refusal(reply)
        if reply.status_code != 207:
            raise Unavailable(f"{self._url} replied {reply.status_code}; is this a feedback API?")

    async def send(self, items: Sequence[Item]) -> list[Outcome]:
        """What became of the items, in their order, once all of them are settled.

        Raises:
            Unavailable: the API stayed away or busy for a minute; what was sent may be stored.
            HeedError: the key is not valid any more.
        """
        sent = [self._send_batch(batch) for batch in _batches(items)]
        sent += [self._send_one(item) for item in items if item.post.kind == "interaction"]
        outcomes = [outcome for found in await asyncio.gather(*sent) for outcome in found]
        places = {id(item): place for place, item in enumerate(items)}
        return sorted(outcomes, key=lambda outcome: places[id(outcome.item)])

    async def _send_batch(self, batch: Sequence[Item]) -> list[Outcome]:
        """One batch; items for which the API is busy go again, a batch too large in halves."""
        path = _PATHS[batch[0].post.kind]
        patience = Patience(self._url)
        settled: list[Outcome] = []
        waiting = list(batch)
        while waiting:
            body = b"\n".join(item.body for item in waiting)
            async with self._batches:
                reply = await self._ask(path, body, "application/x-ndjson", patience)
            if reply.status_code == 413 and len(waiting) > 1:
                middle = len(waiting) // 2
                for half in (waiting[:middle], waiting[middle:]):
                    settled += await self._send_batch(half)
                return settled
            if reply.status_code != 207:
                return settled + [_refused(item, reply) for item in waiting]
            found = [_outcome(*both) for both in zip(waiting, reply.json()["items"], strict=True)]
            settled += [outcome for outcome in found if outcome.status not in _BUSY]
            waiting = [outcome.item for outcome in found if outcome.status in _BUSY]
            if waiting:
                await patience.wait(None, is_moving=len(waiting) < len(found))
        return settled

    async def _send_one(self, item: Item) -> list[Outcome]:
        async with self._singles:
            patience = Patience(self._url)
            reply = await self._ask("/interactions", item.body, "application/json", patience)
        return [Outcome(item, reply.status_code) if reply.is_success else _refused(item, reply)]

    async def _ask(
        self, path: str, body: bytes, media: str, patience: "Patience"
    ) -> httpx.Response:
        while True:
            try:
                reply = await self._post(path, body, media)
            except httpx.HTTPError:
                await patience.wait(None)
                continue
            if reply.status_code not in _BUSY:
                _raise_refusal(reply)
                return reply
            await patience.wait(reply.headers.get("retry-after"))

    async def _post(self, path: str, body: bytes, media: str) -> httpx.Response:
        return await self._http.post(path, content=body, headers={"Content-Type": media})


def _is_url(text: str) -> bool:
    """Whether a feedback API may be there."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        return False
    return url.scheme in ("http", "https") and bool(url.host)


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Items of one kind together, as many as a request may hold."""
    for kind in _PATHS:
        batch: list[Item] = []
        size = 0
        for item in items:
            if item.post.kind != kind:
                continue
            if batch and (len(batch) == MAX_ITEMS or size + len(item.body) > MAX_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(item)
            size += len(item.body) + 1
        if batch:
            yield batch


def _outcome(item: Item, said: Json) -> Outcome:
    return Outcome(item, int(said["status"]), said.get("problem"))


def _refused(item: Item, reply: httpx.Response) -> Outcome:
    return Outcome(item, reply.status_code, _problem(reply))


def _raise_refusal(reply: httpx.Response) -> None:
    """A key that is not valid is not a matter of one row."""
    kinds: dict[int, Any] = {401: Unauthenticated, 403: Forbidden, 404: Conflict}
    if (kind := kinds.get(reply.status_code)) is not None:
        raise kind(str(_problem(reply).get("detail", f"The reply was {reply.status_code}.")))


def _problem(reply: httpx.Response) -> Json:
    try:
        return dict(reply.json())
    except (ValueError, TypeError):
        return {"code": "unexpected_reply", "detail": f"The reply was {reply.status_code}."}
