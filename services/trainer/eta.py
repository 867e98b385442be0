"""How much longer a run takes, from how fast its present stage has gone so far."""

from dataclasses import dataclass

_LEAST_S, _LEAST_DONE = 2.0, 0.001
_TRUST = 0.3  # in the newest estimate; the rest is the one before, counted down


@dataclass
class Eta:
    """An estimate of the seconds that are left, smoothed, from the fractions a run reports.

    Each stage has a pace of its own, and a run that goes on from a checkpoint begins in the middle:
    what counts is what was done in how long since the first report of the stage.
    """

    stage: str | None = None
    _began_at: float = 0.0
    _began_with: float = 0.0
    _left: float | None = None
    _told_at: float = 0.0

    def left(self, fraction: float, stage: str, now: float) -> float | None:
        """Seconds left at this fraction of the whole run (0–1); None while too little is known.

        Args:
            fraction: share of the run that is done.
            stage: its present stage.
            now: a clock in seconds that never goes back.
        """
        if stage != self.stage or fraction < self._began_with:
            self.stage, self._began_at, self._began_with, self._left = stage, now, fraction, None
        elapsed, gone = now - self._began_at, fraction - self._began_with
        if elapsed < _LEAST_S or gone < _LEAST_DONE:
            return None
        newest = (1.0 - fraction) * elapsed / gone
        if self._left is not None:
            before = max(self._left - (now - self._told_at), 0.0)
            newest = _TRUST * newest + (1.0 - _TRUST) * before
        self._left, self._told_at = newest, now
        return newest
