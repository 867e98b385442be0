"""What a format makes of one row: posts, and what they remember so that the row can be rebuilt.

Everything a row says beside our columns is kept: short values in `context`, where they can be
filtered by; texts and structures in a recorded interaction, which is masked, encrypted and erased
like every other text.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from shared.errors import Detail, InvalidInput

Json = dict[str, Any]
Kind = Literal["feedback", "preference", "interaction"]

MARK = "import"  # the key of `context` under which a post remembers where it comes from
# What reading or writing raises when a value is of another shape than the format says.
MISSHAPEN = (AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError)
_SHORT_CHARS = 64
_NAME_CHARS = 180
_ID_FIELDS = {
    "feedback": "feedback_id",
    "preference": "preference_id",
    "interaction": "interaction_id",
}


@dataclass(frozen=True)
class Post:
    """One body for the feedback API; `remembered` is what only the format itself reads again."""

    kind: Kind
    body: Json
    remembered: Json


@dataclass(frozen=True)
class Origin:
    """Where an import comes from, and what holds for all its rows."""

    format: str
    source: str
    consent: bool | None = None
    task: str | None = None
    has_local_raters: bool = False

    def stamp(
        self, number: int, values: Mapping[str, Any], posts: Iterable[Post]
    ) -> Iterator[Post]:
        """The posts of one row with ids that the same row always gets, and its place.

        Row 7 of `pairs.jsonl` is in the session `pairs.jsonl#7`, unless the row names a session:
        equal rows of a file stay two.
        """
        digest = _digest(self.format, self.source, number, values)
        people: set[tuple[str, Any]] = set()
        for place, post in enumerate(posts):
            session = f"{self.source[:_NAME_CHARS]}#{number}"
            who = (post.kind, post.body.get("rater_id"))
            # What one person says twice of one row would be a change of mind.
            body = {"session_id": f"{session}.{place}" if who in people else session, **post.body}
            people.add(who)
            body[_ID_FIELDS[post.kind]] = f"{self.format}:{digest}:{place}{self._variant(post)}"
            mark = {"format": self.format, "source": self.source, "row": number, "post": place}
            body["context"] = {**post.body.get("context", {}), MARK: post.remembered | mark}
            if self.consent is not None:
                body["consent"] = {"training": self.consent}
            if self.task is not None and post.kind != "interaction":
                body["task_type"] = self.task
            if self.has_local_raters and "rater_id" in body:
                body["rater_id"] = f"{self.source[:_NAME_CHARS]}/{body['rater_id']}"
            yield Post(post.kind, body, post.remembered)

    def _variant(self, post: Post) -> str:
        """An interaction never changes, so another consent is another interaction."""
        if post.kind != "interaction" or self.consent is None:
            return ""
        return "+" if self.consent else "-"


def _digest(format_name: str, source: str, number: int, values: Mapping[str, Any]) -> str:
    content = json.dumps(values, sort_keys=True, default=str)
    named = f"{format_name}\n{source}\n{number}\n{content}"
    return hashlib.blake2b(named.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def pair(prompt: str, chosen: str, rejected: str) -> Json:
    """The body of a comparison; the better response is `a` as often as `b`."""
    coin = zlib.crc32(f"{prompt}\n{chosen}\n{rejected}".encode("utf-8", "surrogatepass")) & 1
    first, second = (chosen, rejected) if coin else (rejected, chosen)
    return {
        "prompt": prompt,
        "response_a": first,
        "response_b": second,
        "preferred": "a" if coin else "b",
    }


def beside(values: Mapping[str, Any], used: Iterable[str]) -> tuple[Json, Json]:
    """The columns a format does not use: those short enough for `context`, and the others."""
    known = set(used)
    rest = {name: value for name, value in values.items() if name not in known}
    short = {name: value for name, value in rest.items() if name != MARK and _is_short(value)}
    return short, {name: value for name, value in rest.items() if name not in short}


def recorded(prompt: str, kept: Json) -> Iterator[Post]:
    """The interaction that keeps what does not fit a column, if there is anything."""
    if kept:
        yield Post("interaction", {"prompt": prompt, "response": kept}, {})


def text_of(values: Mapping[str, Any], column: str) -> str:
    """The text in a column.

    Raises:
        InvalidInput: it is missing, or not text.
    """
    value = values.get(column)
    if not isinstance(value, str):
        code, what = ("missing", "is missing") if value is None else ("not_text", "is not text")
        raise wrong(f"/{column}", code, f"The column `{column}` {what}")
    return value


def wrong(pointer: str, code: str, what: str) -> InvalidInput:
    """The refusal of one row; `what` names the column and says what to do, never a text."""
    return InvalidInput(f"{what}.", errors=(Detail(pointer, code, what),))


def _is_short(value: object) -> bool:
    is_plain = value is None or isinstance(value, bool | int | float)
    return is_plain or (isinstance(value, str) and len(value) <= _SHORT_CHARS)
