"""What a task demands of every response, as rewards: its length in words, and patterns in it.

A demand that is met gives 0, one that is not gives down to -1, so that it adds nothing to a
response that is as it should be.
"""

import re
from collections.abc import Callable, Sequence

from shared.errors import InvalidInput

Judge = Callable[[Sequence[str], Sequence[str]], list[float]]

_LENGTH = re.compile(r"(\d+)-(\d+)")


def constraint(name: str, argument: str) -> Judge:
    """Judges responses by `length:LEAST-MOST` words, `require:PATTERN` or `forbid:PATTERN`.

    Raises:
        InvalidInput: the bounds or the regular expression are wrong.
    """
    if name == "length":
        least, most = _bounds(argument)
        return lambda _, responses: [_too_long(len(one.split()), least, most) for one in responses]
    try:
        pattern = re.compile(argument)
    except re.error as error:
        raise InvalidInput(f"{name}:{argument} is no regular expression: {error.msg}.") from None
    wanted = name == "require"
    return lambda _, responses: [
        0.0 if bool(pattern.search(one)) is wanted else -1.0 for one in responses
    ]


def _bounds(argument: str) -> tuple[int, int]:
    found = _LENGTH.fullmatch(argument)
    if found is None or int(found[1]) > int(found[2]) or int(found[2]) == 0:
        raise InvalidInput(f"length:{argument} is wrong; say length:20-120, in words.")
    return int(found[1]), int(found[2])


def _too_long(words: int, least: int, most: int) -> float:
    """0 within the bounds; beyond, minus the distance as a share of the bound, at most 1."""
    if words < least:
        return -(least - words) / least
    return -min(1.0, (words - most) / most) if words > most else 0.0
