"""Reads a person's own feedback: ratings, comparisons or HH-RLHF dialogues, from one file.

The columns of the first row decide what the file holds. What is wrong is named by line and column,
never by repeating what somebody wrote.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from heed_cli.demo.posts import Json, Post
from heed_cli.demo.tables import Row, read_rows
from shared.errors import InvalidInput

_TURN = "\n\nAssistant:"
_OPTIONAL = ("rater_id", "agent_name", "session_id")
_SHAPES = (
    "prompt, response and rating (1–5) or human_rating (0–1); prompt, chosen and rejected; or "
    "chosen and rejected (whole dialogues)"
)
Reader = Callable[[Row], Post | None]


def read_posts(path: Path) -> tuple[list[Post], int]:
    """Every row as a post, and how many rows were left out because they say nothing.

    Such a row compares equal or empty responses, or the ends of two different dialogues.

    Raises:
        InvalidInput: the file cannot be read, or a row is wrong; names line and column.
    """
    rows = read_rows(path)
    first = next(rows, None)
    if first is None:
        raise InvalidInput(f"{path} has no rows.")
    read = _reader_for(first)
    found = list(_read_all(first, rows, read))
    posts = [post for post in found if post is not None]
    return posts, len(found) - len(posts)


def _read_all(first: Row, rows: Iterable[Row], read: Reader) -> Iterable[Post | None]:
    yield read(first)
    yield from map(read, rows)


def _reader_for(first: Row) -> Reader:
    columns = set(first.values)
    if {"prompt", "chosen", "rejected"} <= columns:
        return _comparison
    if {"chosen", "rejected"} <= columns:
        return _dialogues
    if {"prompt", "response"} <= columns and {"rating", "human_rating"} & columns:
        return _rating
    found = ", ".join(sorted(map(str, columns))) or "none"
    raise InvalidInput(f"{first.place}: columns {found}. Expected {_SHAPES}.")


def _rating(row: Row) -> Post:
    body = {"prompt": _text(row, "prompt"), "response": _text(row, "response")}
    if row.values.get("human_rating") in (None, ""):
        graded: Json = {"rating": _stars(row)}
    else:
        graded = {"human_rating": _share(row)}
    return Post("feedback", {**body, **graded, **_given(row.values)}, row.place)


def _comparison(row: Row) -> Post | None:
    return _preference(
        row, _text(row, "prompt"), chosen=_text(row, "chosen"), rejected=_text(row, "rejected")
    )


def _dialogues(row: Row) -> Post | None:
    """The last turn of the assistant is the response, everything before it the prompt."""
    prompt, chosen = _last_turn(row, "chosen")
    other_prompt, rejected = _last_turn(row, "rejected")
    if prompt != other_prompt:
        return None  # two different conversations: their last turns cannot be compared
    return _preference(row, prompt, chosen=chosen, rejected=rejected)


def _preference(row: Row, prompt: str, *, chosen: str, rejected: str) -> Post | None:
    if not chosen or not rejected or chosen == rejected:
        return None
    is_first = random.Random(row.place).random() < 0.5  # the better one is not always `a`
    first, second = (chosen, rejected) if is_first else (rejected, chosen)
    body = {
        "prompt": prompt,
        "response_a": first,
        "response_b": second,
        "preferred": "a" if is_first else "b",
        **_given(row.values),
    }
    return Post("preference", body, row.place)


def _last_turn(row: Row, column: str) -> tuple[str, str]:
    before, turn, response = _text(row, column).rpartition(_TURN)
    if not turn:
        raise _wrong(row, column, "has no turn `\\n\\nAssistant:`; add a column `prompt` instead")
    return before.strip(), response.strip()


def _text(row: Row, column: str) -> str:
    value = row.values.get(column)
    if not isinstance(value, str):
        raise _wrong(row, column, "is missing" if value is None else "is not text")
    return value


def _stars(row: Row) -> int:
    value = _number(row, "rating")
    if value not in (1, 2, 3, 4, 5):
        advice = "numbers from 0 to 1 belong in a column `human_rating`"
        raise _wrong(row, "rating", f"is {value:g}, but stars are 1 to 5; {advice}")
    return int(value)


def _share(row: Row) -> float:
    value = _number(row, "human_rating")
    if not 0 <= value <= 1:
        raise _wrong(row, "human_rating", f"is {value:g}, but must be from 0 to 1")
    return value


def _number(row: Row, column: str) -> float:
    value = row.values.get(column)
    try:
        return float(value if not isinstance(value, bool) else "")  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise _wrong(row, column, "is not a number") from None


def _given(values: Mapping[str, Any]) -> Json:
    return {name: str(values[name]) for name in _OPTIONAL if values.get(name) not in (None, "")}


def _wrong(row: Row, column: str, what: str) -> InvalidInput:
    return InvalidInput(f"{row.place}, column `{column}` {what}.")
