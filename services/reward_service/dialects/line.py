"""Requests that wait for room in the queue of the scoring threads, the first come first."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from shared.errors import Overloaded

T = TypeVar("T")

MOST_WAITING = 200
# A refusal comes at once; what has not been refused by then has found room.
_REFUSED_BY_S = 0.005
_PAUSE_S = 0.05


class Line:
    """Tries again for whoever is first, until there is room; bounded, like every queue."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._first = asyncio.Lock()
        self._most = most
        self._waiting = 0

    async def wait(self, attempt: Callable[[], Coroutine[Any, Any, T]], patience_s: float) -> T:
        """What the attempt gives as soon as it is not refused.

        Raises:
            Overloaded: there was no room in so many seconds, or the line is too long.
        """
        try:
            async with asyncio.timeout(patience_s):
                return await self._in_turn(attempt)
        except TimeoutError:
            raise Overloaded(
                f"There was no room within {patience_s:g} s; send fewer texts at once.",
                code="deadline_exceeded",
                retry_after_s=1,
            ) from None

    async def _in_turn(self, attempt: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if not self._waiting:
            try:
                return await attempt()
            except Overloaded as error:
                if not _is_full(error):
                    raise
        if self._waiting >= self._most:
            raise Overloaded(f"{self._waiting} requests wait for room already.", retry_after_s=10)
        while True:
            try:
                return await (await self._admitted_in_turn(attempt))
            except Overloaded as error:  # refused late, after work that came before the queue
                if not _is_full(error):
                    raise

    async def _admitted_in_turn(
        self, attempt: Callable[[], Coroutine[Any, Any, T]]
    ) -> asyncio.Task[T]:
        self._waiting += 1
        try:
            async with self._first:
                return await _admitted(attempt)
        finally:
            self._waiting -= 1


async def _admitted(attempt: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
    """The attempt that found room, under way."""
    while True:
        task = asyncio.ensure_future(attempt())
        try:
            await asyncio.wait({task}, timeout=_REFUSED_BY_S)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not (task.done() and _is_full(task.exception())):
            return task
        await asyncio.sleep(_PAUSE_S)


def _is_full(error: BaseException | None) -> bool:
    return isinstance(error, Overloaded) and error.code == Overloaded.code
