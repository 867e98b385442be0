"""Cuts the body of a batch into its items, each exactly as it was sent."""

import json
import re
from collections.abc import Iterator

from pydantic_core import SchemaValidator, ValidationError, core_schema

from shared.errors import MalformedBody

MAX_BATCH = 1000
_START = re.compile(r"[ \t\n\r]*\[[ \t\n\r]*(\][ \t\n\r]*)?")
_BETWEEN = re.compile(r"[ \t\n\r]*([,\]])[ \t\n\r]*")
_FIRST_OBJECT = re.compile(rb"[ \t\n\r]*\[[ \t\n\r]*\{")
_LAST_OBJECT = re.compile(rb"\}[ \t\n\r]*\][ \t\n\r]*")
_BETWEEN_OBJECTS = re.compile(rb"\}[ \t\n\r]*,[ \t\n\r]*\{")
_read_value = json.JSONDecoder().raw_decode
# Reads an array of objects whole and makes nothing of what they hold, at half the cost of doing so.
_OBJECTS = SchemaValidator(
    core_schema.list_schema(core_schema.typed_dict_schema({}, extra_behavior="ignore"))
)


def lines(raw: bytes) -> list[bytes]:
    """The items of NDJSON: its lines that are not blank."""
    return [line for line in raw.splitlines() if line and not line.isspace()]


def guessed_items(raw: bytes) -> list[bytes] | None:
    """The items of a JSON array of objects, if it is cut everywhere as it is cut first.

    As long as each item proves to be JSON when it is read, the guess was right so far, because a
    text is JSON in one way only. None when the body is no such array, or obviously cut otherwise.
    """
    start, last = _FIRST_OBJECT.match(raw), raw.rfind(b"}")
    if start is None or _LAST_OBJECT.fullmatch(raw, max(last, 0)) is None:
        return None
    between = _BETWEEN_OBJECTS.search(raw, start.end())
    within = raw[start.end() : last]
    parts = within.split(between[0]) if between else [within]
    try:
        is_right_so_far = len(_OBJECTS.validate_json(raw)) == len(parts)
    except ValidationError:
        return None
    return [b"{%b}" % part for part in parts] if is_right_so_far else None


def array_items(raw: bytes) -> Iterator[bytes]:
    """The items of any JSON array one by one; at most one more than a batch may hold.

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
