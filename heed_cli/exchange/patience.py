"""How long a busy or silent feedback API is waited for."""

import asyncio
import time

from shared.errors import Unavailable

_PATIENCE_S = 60.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0


class Patience:
    """Waits longer each time, and gives up after a minute in which nothing was taken."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._deadline: float | None = None
        self._pause_s = _FIRST_PAUSE_S

    async def wait(self, asked: str | None, *, is_moving: bool = False) -> None:
        """Wait as long as was asked for, else a little longer than the last time.

        Raises:
            Unavailable: nothing has moved for a minute.
        """
        if self._deadline is None or is_moving:
            self._deadline = time.monotonic() + _PATIENCE_S
        if time.monotonic() > self._deadline:
            raise Unavailable(
                f"The feedback API at {self._url} does not take posts: see `heed status`, then run "
                "the same command again; it goes on where it stopped."
            )
        try:
            pause_s = min(max(0.0, float(asked or "")), _PATIENCE_S)
        except ValueError:
            pause_s = self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        await asyncio.sleep(pause_s)
