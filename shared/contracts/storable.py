"""Types for what clients send, refusing what passes JSON but not Postgres.

A NUL character, a lone surrogate, NaN or an integer over 64 bits in one post would otherwise make
a whole group commit fail.
"""

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, Field
from pydantic_core import PydanticCustomError

MAX_NAME = 255
MAX_DEPTH = 32
MAX_INTEGER = 2**63 - 1
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)


def _refuse_unstorable_text(text: str) -> str:
    if _is_unstorable(text):
        raise PydanticCustomError(
            "unstorable_text", "Text cannot hold U+0000 or half of a surrogate pair; remove it"
        )
    return text


def refuse_unstorable(value: Any) -> Any:
    """JSON as it is, when Postgres can store it.

    Raises:
        PydanticCustomError: it cannot; for validators.
    """
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        if (fault := _fault(item, depth)) is not None:
            raise PydanticCustomError("unstorable_json", fault)
        waiting.extend((inner, depth + 1) for inner in _inside(item))
    return value


def _inside(item: Any) -> Iterator[Any]:
    if isinstance(item, dict):
        yield from item
        yield from item.values()
    elif isinstance(item, list):
        yield from item


def _fault(item: Any, depth: int) -> str | None:
    if depth > MAX_DEPTH:
        return f"JSON may be nested at most {MAX_DEPTH} levels deep"
    if isinstance(item, float) and not math.isfinite(item):
        return "Numbers must be finite; NaN, infinities and overflows cannot be stored"
    if isinstance(item, int) and abs(item) > MAX_INTEGER:
        return "Integers beyond 64 bits cannot be stored; send them as text"
    if isinstance(item, str) and _is_unstorable(item):
        return "Text inside JSON cannot hold U+0000 or half of a surrogate pair"
    return None


def _is_unstorable(text: str) -> bool:
    return "\0" in text or not is_unicode(text)


def is_unicode(text: str) -> bool:
    """Whether no half of a surrogate pair stands alone, as JSON may spell and no UTF-8 can."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _in_range(moment: datetime) -> datetime:
    if not EARLIEST <= moment <= LATEST:
        raise PydanticCustomError(
            "timestamp_range", "The time must lie between the years 1970 and 2200"
        )
    return moment


StorableText = Annotated[str, Field(strict=True), AfterValidator(_refuse_unstorable_text)]
Name = Annotated[
    str,
    Field(strict=True, min_length=1, max_length=MAX_NAME),
    AfterValidator(_refuse_unstorable_text),
]
StorableJson = Annotated[Any, AfterValidator(refuse_unstorable)]
StorableObject = Annotated[dict[str, Any], AfterValidator(refuse_unstorable)]
StorableList = Annotated[list[Any], AfterValidator(refuse_unstorable)]
Moment = Annotated[AwareDatetime, AfterValidator(_in_range)]
