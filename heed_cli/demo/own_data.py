"""Reads a person's own feedback for the demo: what `heed import csv` reads, all of it at once.

The demo stops at the first wrong row, naming its line and column, and leaves out what compares
nothing; an import goes on and lists every wrong row.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heed_cli.demo.posts import Post
from heed_cli.exchange import hh_rlhf, tabular
from heed_cli.exchange.posts import Json, pair, text_of, wrong
from heed_cli.exchange.reading import read_rows
from heed_cli.exchange.rows import Row
from shared.errors import InvalidInput

_ORIGIN = ("rater_id", "agent_name", "session_id")
_SHAPES = (
    "prompt, response and rating (1–5) or human_rating (0–1); prompt, chosen and rejected; or "
    "chosen and rejected (whole dialogues)"
)


def read_posts(path: Path) -> tuple[list[Post], int]:
    """Every row as a post, and how many rows were left out because they say nothing.

    Such a row compares equal or empty responses, or the ends of two different dialogues.

    Raises:
        InvalidInput: the file cannot be read, or a row is wrong; names line and column.
    """
    found = [_post(row) for row in _checked(path)]
    if not found:
        raise InvalidInput(f"{path} has no rows.")
    posts = [post for post in found if post is not None]
    return posts, len(found) - len(posts)


def _checked(path: Path) -> Iterator[Row]:
    for place, row in enumerate(read_rows(path)):
        if row.fault is not None:
            raise InvalidInput(f"{row.place}: {row.fault.detail}.")
        if place == 0:
            _require_columns(row)
        yield row


def _require_columns(row: Row) -> None:
    columns = set(row.values)
    if {"chosen", "rejected"} <= columns:
        return
    if {"prompt", "response"} <= columns and {"rating", "human_rating"} & columns:
        return
    found = ", ".join(sorted(columns)) or "none"
    raise InvalidInput(f"{row.place}: columns {found}. Expected {_SHAPES}.")


def _post(row: Row) -> Post | None:
    try:
        if "chosen" in row.values:
            return _comparison(row)
        return Post("feedback", _rating(row.values), row.place)
    except InvalidInput as error:
        raise InvalidInput(f"{row.place}: {error.detail}") from None


def _rating(values: Any) -> Json:
    if values.get("rating") in (None, "") and values.get("human_rating") in (None, ""):
        raise wrong("/rating", "not_a_number", "The column `rating` is not a number")
    body = tabular.rating_body(values)
    known = {"prompt", "response", "rating", "human_rating", *_ORIGIN}
    return {name: value for name, value in body.items() if name in known}


def _comparison(row: Row) -> Post | None:
    values = row.values
    if "prompt" in values:
        prompt, chosen, rejected = (text_of(values, n) for n in ("prompt", "chosen", "rejected"))
    elif (ends := _last_turns(values)) is not None:
        prompt, chosen, rejected = ends
    else:
        return None
    if not chosen or not rejected or chosen == rejected:
        return None
    body = pair(prompt, chosen, rejected) | tabular.given(values, _ORIGIN)
    return Post("preference", body, row.place)


def _last_turns(values: Any) -> tuple[str, str, str] | None:
    """Prompt and last turns of two dialogues, None when these part before their last turns."""
    dialogues = [text_of(values, name) for name in hh_rlhf.COLUMNS]
    for name, text in zip(hh_rlhf.COLUMNS, dialogues, strict=True):
        if hh_rlhf.TURN not in text:
            turn = r"`\n\nAssistant:`; add a column `prompt` instead"
            raise wrong(f"/{name}", "no_turn", f"The column `{name}` has no turn {turn}")
    (prompt, _, chosen), (other, _, rejected) = (
        text.rpartition(hh_rlhf.TURN) for text in dialogues
    )
    return (prompt.strip(), chosen.strip(), rejected.strip()) if prompt == other else None
