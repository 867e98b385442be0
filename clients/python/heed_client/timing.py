"""Time, in one place so that tests can let an hour pass at once."""

import asyncio
import threading
import time


class Clock:
    """The real time."""

    def now(self) -> float:
        """Seconds since 1970, for what is stored."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go back, for deadlines."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block the calling thread."""
        time.sleep(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """Let other tasks run meanwhile."""
        await asyncio.sleep(seconds)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for an event; whether it came."""
        return event.wait(seconds)
