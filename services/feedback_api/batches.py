"""Many posts in one request: each is validated, admitted and stored on its own.

The event loop belongs to everybody: all batches together take one millisecond of it at a time, and
their items wait behind single posts.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import TypeAdapter

from services.feedback_api.admission import BatchSlots
from services.feedback_api.deps import parse
from services.feedback_api.intake import Source
from services.feedback_api.writer import Accepted, Post
from shared.errors import HeedError, MalformedBody, TooLarge
from shared.logs import get_logger
from shared.web.edge import explain

T = TypeVar("T")
U = TypeVar("U")
HandIn = Callable[[Post], Awaitable[asyncio.Future[Accepted]]]
HandedIn = asyncio.Future[Accepted] | HeedError
Outcome = Accepted | HeedError
log = get_logger("feedback_api")

MAX_BATCH = 1000
_START = re.compile(r"[ \t\n\r]*\[[ \t\n\r]*(\][ \t\n\r]*)?")
_BETWEEN = re.compile(r"[ \t\n\r]*([,\]])[ \t\n\r]*")
_read_value = json.JSONDecoder().raw_decode


@dataclass(frozen=True)
class Batch(Generic[T]):
    """How the items of one batch become posts, and who takes them."""

    source: Source
    shape: TypeAdapter[T]
    to_post: Callable[[T, Source], Post]
    hand_in: HandIn
    slots: BatchSlots

    async def store(self, media_type: str) -> list[Outcome]:
        """What became of each item, in order.

        Raises:
            MalformedBody: the batch as a whole is not a JSON array or lines of JSON.
            TooLarge: it has too many items.
        """
        items = await self._split(media_type)
        posts = enumerate(items)
        async with asyncio.TaskGroup() as waiting:
            handed_in = [
                waiting.create_task(self._hand_in_all(part))
                async for part in self._in_turns(self._post(*numbered) for numbered in posts)
            ]
        return [await _outcome(it) for part in handed_in for it in part.result()]

    async def _split(self, media_type: str) -> Sequence[bytes]:
        """Each item as it was sent."""
        raw = self.source.raw_body
        if "ndjson" in media_type or "jsonl" in media_type:
            items = [line for line in raw.splitlines() if line.strip()]
        else:
            items = [item async for part in self._in_turns(_array_items(raw)) for item in part]
        if len(items) > MAX_BATCH:
            raise TooLarge(f"A batch holds at most {MAX_BATCH} items; send several.")
        return items

    async def _in_turns(self, items: Iterator[U]) -> AsyncIterator[list[U]]:
        """The items in parts, each of which took one turn on the event loop."""
        is_over = False
        while not is_over:
            async with self.slots.turn() as ends_at:
                part = list(_until(items, ends_at))
                is_over = not part
            yield part

    def _post(self, place: int, item: bytes) -> Post | HeedError:
        try:
            return self.to_post(parse(self.shape, item), self.source.of_item(item, place))
        except Exception as error:  # noqa: BLE001 - whatever it is, it takes no other item with it
            return explain(error, log)

    async def _hand_in_all(self, posts: Sequence[Post | HeedError]) -> list[HandedIn]:
        return [it if isinstance(it, HeedError) else await self._hand_in(it) for it in posts]

    async def _hand_in(self, post: Post) -> HandedIn:
        try:
            return await self.hand_in(post)
        except Exception as error:  # noqa: BLE001 - it takes no other item with it
            return explain(error, log)


async def _outcome(waiting: HandedIn) -> Outcome:
    if isinstance(waiting, HeedError):
        return waiting
    try:
        return await waiting
    except Exception as error:  # noqa: BLE001 - it takes no other item with it
        return explain(error, log)


def _until(items: Iterator[U], ends_at: float) -> Iterator[U]:
    """The next items, at least one if there is one, until the time has come."""
    for item in items:
        yield item
        if time.perf_counter() > ends_at:
            return


def _array_items(raw: bytes) -> Iterator[bytes]:
    """The items of a JSON array one by one; at most one more than a batch may hold.

    Raises:
        MalformedBody: it is no array, or not JSON in UTF-8.
    """
    try:
        text = raw.decode()
        if (start := _START.match(text)) is None:
            raise MalformedBody("A batch is a JSON array, or NDJSON with its own media type.")
        at, follows = start.end(), "," if start[1] is None else "]"
        for _ in range(MAX_BATCH + 1):
            if follows == "]":
                break
            _, end = _read_value(text, at)
            yield text[at:end].encode()
            at, follows = _what_follows(text, end)
        else:
            return
        if at < len(text):
            raise ValueError
    except (ValueError, RecursionError):
        raise MalformedBody("The batch is not valid JSON in UTF-8.") from None


def _what_follows(text: str, end: int) -> tuple[int, str]:
    """Where the next item begins, and the comma or bracket before it."""
    if (between := _BETWEEN.match(text, end)) is None:
        raise ValueError
    return between.end(), between[1]
