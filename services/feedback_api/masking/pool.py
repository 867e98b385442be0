"""A few masking processes behind one bounded list of waiting rows.

Whatever goes wrong, the caller gets a result or an error. The rows of a process that dies are given
to another one once; those of one that takes too long, which is killed, are refused.
"""

import asyncio
import math
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json

from services.feedback_api.masking.worker import READY, SIZE
from shared.errors import MaskingUnavailable, Overloaded
from shared.logs import get_logger

Row = dict[str, Any]
log = get_logger("masking")

WORKER = ("-m", "services.feedback_api.masking.worker")
FRAME_ROWS = 32
FRAME_BYTES = 128 * 2**10
MAX_PENDING_BYTES = 64 * 2**20
START_S = 30.0
PAUSE_S = 0.2


@dataclass(slots=True)
class Waiting:
    content: bytes
    result: asyncio.Future[Row]
    was_tried: bool = False


class MaskingPool:
    """Masks rows in processes of its own.

    `budget_s` is how long a row may take from its arrival, and a frame of rows in a process;
    `processes` are those that are ready.
    """

    def __init__(
        self,
        *,
        processes: int,
        budget_s: float,
        max_pending: int,
        on_failure: Callable[[str], None],
        command: tuple[str, ...] = WORKER,
    ) -> None:
        self._processes = processes
        self._budget_s = budget_s
        self._max_pending = max_pending
        self._on_failure = on_failure
        self._command = command
        self._pending: deque[Waiting] = deque()
        self._pending_bytes = 0
        self._something_waits = asyncio.Condition()
        self.processes: set[Process] = set()

    async def mask(self, row: Row) -> Row:
        """The worker's result for one row: `changed`, `found` and `places`.

        Raises:
            MaskingUnavailable: the masker failed, is not there, or took too long.
            Overloaded: too many rows wait.
        """
        waiting = Waiting(to_json(row), asyncio.get_running_loop().create_future())
        await self._enqueue(waiting)
        try:
            async with asyncio.timeout(self._budget_s):
                result = await waiting.result
        except TimeoutError:
            self._on_failure("timeout")
            raise _unavailable() from None
        if "failed" in result:
            self._on_failure("error")
            log.error("masker failed", type=result["failed"])
            raise _unavailable()
        return result

    async def _enqueue(self, waiting: Waiting) -> None:
        size = self._pending_bytes + len(waiting.content)
        if len(self._pending) >= self._max_pending or size > MAX_PENDING_BYTES:
            raise Overloaded("Too many posts wait to be masked; retry.", retry_after_s=1)
        async with self._something_waits:
            self._pending.append(waiting)
            self._pending_bytes += len(waiting.content)
            self._something_waits.notify()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["MaskingPool"]:
        """Inside, rows are masked; leaving ends the processes and refuses what still waits."""
        tasks = [asyncio.create_task(self._serve()) for _ in range(self._processes)]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._refuse_all()

    async def _serve(self) -> None:
        """Feed one process, and the next one when it ends; while none starts, nobody waits."""
        while True:
            has_started = False
            try:
                async with _worker(self._command) as process:
                    has_started = True
                    with self._known(process):
                        await self._feed(process)
            except (OSError, EOFError, TimeoutError, ValueError) as error:
                self._on_failure("process")
                log.error("masking process ended", type=type(error).__name__)
                if not has_started and not self.processes:
                    self._refuse_all()
                await asyncio.sleep(PAUSE_S)

    @contextmanager
    def _known(self, process: Process) -> Iterator[None]:
        self.processes.add(process)
        try:
            yield
        finally:
            self.processes.remove(process)

    async def _feed(self, process: Process) -> None:
        while True:
            frame = await self._take()
            try:
                async with asyncio.timeout(self._budget_s):
                    results = await _ask(process, [waiting.content for waiting in frame])
                for waiting, result in zip(frame, results, strict=True):
                    if not waiting.result.done():
                        waiting.result.set_result(result)
            except (EOFError, ConnectionError):
                frame = self._put_back(frame)
                raise
            finally:
                self._refuse(frame)

    async def _take(self) -> list[Waiting]:
        """A fair share of what waits, up to a frame; a large row goes alone."""
        async with self._something_waits:
            await self._something_waits.wait_for(lambda: self._pending)
        share = min(FRAME_ROWS, math.ceil(len(self._pending) / self._processes))
        frame: list[Waiting] = []
        size = 0
        while self._pending and len(frame) < share:
            size += len(self._pending[0].content)
            if frame and size > FRAME_BYTES:
                break
            frame.append(waiting := self._pending.popleft())
            self._pending_bytes -= len(waiting.content)
        return [waiting for waiting in frame if not waiting.result.done()]

    def _put_back(self, frame: list[Waiting]) -> list[Waiting]:
        """Let rows wait again whose process died, unless it is the second one: those are left."""
        again = [waiting for waiting in frame if not waiting.was_tried]
        rest = [waiting for waiting in frame if waiting.was_tried]
        for waiting in again:
            waiting.was_tried = True
            self._pending_bytes += len(waiting.content)
        self._pending.extendleft(reversed(again))
        return rest

    def _refuse_all(self) -> None:
        self._refuse(self._pending)
        self._pending.clear()
        self._pending_bytes = 0

    def _refuse(self, rows: Iterable[Waiting]) -> None:
        for waiting in rows:
            if not waiting.result.done():
                waiting.result.set_exception(_unavailable())


def _unavailable() -> MaskingUnavailable:
    return MaskingUnavailable(
        "The masker did not answer, so nothing of the post was stored; retry.", retry_after_s=1
    )


@asynccontextmanager
async def _worker(command: tuple[str, ...]) -> AsyncIterator[Process]:
    """A masking process that has said it is ready.

    Raises:
        OSError, EOFError, TimeoutError, ValueError: it does not start.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL
    )
    try:
        async with asyncio.timeout(START_S):
            if await _read(process) != READY:
                raise ValueError("not a masking process")
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def _ask(process: Process, rows: list[bytes]) -> list[Row]:
    content = b"[" + b",".join(rows) + b"]"
    assert process.stdin is not None
    process.stdin.write(len(content).to_bytes(SIZE, "big") + content)
    await process.stdin.drain()
    return await _read(process)  # type: ignore[no-any-return]


async def _read(process: Process) -> Any:
    assert process.stdout is not None
    head = await process.stdout.readexactly(SIZE)
    return from_json(await process.stdout.readexactly(int.from_bytes(head, "big")))
