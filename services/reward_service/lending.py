"""Whether a thread that is alone with work computes on the cores of idle ones, too.

It is faster by it while nobody else uses them. Beside other programs it waits, at every product,
for a thread that they keep from running: a short text then takes many times as long as on one core.
So cores are lent until it is slower with them, and again some time later.
"""

_SLOWER = 1.25  # times what one core would need; below, it may be chance
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0


class Lending:
    """Decides by how long work took with lent cores, and is told of every such work."""

    def __init__(self) -> None:
        self._pause_s = _FIRST_PAUSE_S
        self._closed_until = 0.0

    def is_open(self, now: float) -> bool:
        """Whether cores are lent, on the monotonic clock."""
        return now >= self._closed_until

    def observe(self, seconds: float, *, alone_s: float, now: float) -> None:
        """Learn from work that took so long until now, and would take `alone_s` on one core."""
        if seconds <= _SLOWER * alone_s:
            self._pause_s = _FIRST_PAUSE_S
            return
        self._closed_until = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
