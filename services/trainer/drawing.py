"""What every plot needs: names that are drawn as they are written, and error bars."""

from collections.abc import Iterable, Sequence

_MOST_CHARS = 40


def as_label(name: str) -> str:
    """A name for a plot: on one line, cut at 40 characters, never read as a formula."""
    line = " ".join("".join(char if char.isprintable() else " " for char in name).split())
    cut = line if len(line) <= _MOST_CHARS else f"{line[: _MOST_CHARS - 1]}…"
    return cut.replace("$", r"\$")


def error_bars(intervals: Iterable[tuple[float, float, float]]) -> list[Sequence[float]]:
    """Distances below and above of (value, low, high); an end may miss its value by rounding."""
    pairs = [(max(0.0, value - low), max(0.0, high - value)) for value, low, high in intervals]
    return [[below for below, _ in pairs], [above for _, above in pairs]]
