"""Tables with one post a row: ratings (prompt, response, rating, …) and pairs (prompt, chosen,
rejected), as CSV, Parquet or JSON Lines."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from heed_cli.exchange import hh_rlhf
from heed_cli.exchange.posts import Json, Post, beside, pair, recorded, text_of, wrong
from heed_cli.exchange.stored import Group, Stored, chosen_and_rejected, mark_of, slices_of, whole

NAME, PAIRS_NAME = "csv", "csv-pairs"
# Columns that are taken over as they are, when they hold anything.
ORIGIN = ("rater_id", "session_id", "agent_name", "task_type", "comment")
RATED = ("model_version", "thumbs", "corrected_response")
RATING_COLUMNS = ("prompt", "response", "rating", "human_rating", *RATED, *ORIGIN, "occurred_at")
PAIR_COLUMNS = ("prompt", "chosen", "rejected", *ORIGIN, "occurred_at")
_JUDGED = ("rating", "human_rating", "thumbs", "comment", "corrected_response")


def is_readable(columns: set[str]) -> bool:
    """Whether a file with these columns holds ratings or pairs."""
    return {"chosen", "rejected"} <= columns or (
        {"prompt", "response"} <= columns and bool(columns & set(_JUDGED))
    )


def read(values: Mapping[str, Any]) -> Iterator[Post]:
    """The post of one row; the columns say which.

    Raises:
        InvalidInput: a value is missing or out of its range; names the column.
    """
    if "chosen" not in values:
        return _read_rating(values)
    return _read_pair(values) if "prompt" in values else hh_rlhf.read(values)


def _read_rating(values: Mapping[str, Any]) -> Iterator[Post]:
    short, kept = beside(values, RATING_COLUMNS)
    yield Post("feedback", {**rating_body(values), "context": _given(short)}, {})
    yield from recorded(text_of(values, "prompt"), kept)


def _read_pair(values: Mapping[str, Any]) -> Iterator[Post]:
    short, kept = beside(values, PAIR_COLUMNS)
    body = pair(*(text_of(values, name) for name in PAIR_COLUMNS[:3]))
    yield Post("preference", {**body, **given(values, ORIGIN), "context": _given(short)}, {})
    yield from recorded(body["prompt"], kept)


def rating_body(values: Mapping[str, Any]) -> Json:
    """The body of a rating.

    Raises:
        InvalidInput: a value is missing or out of its range; names the column.
    """
    body: Json = {"prompt": text_of(values, "prompt"), "response": text_of(values, "response")}
    body |= given(values, (*ORIGIN, *RATED))
    if (corrected := body.pop("corrected_response", None)) is not None:
        body["correction"] = {"corrected_response": corrected}
    if values.get("human_rating") not in (None, ""):
        return {**body, "human_rating": _share(values)}
    if values.get("rating") in (None, "") and any(
        body.get(name) for name in (*_JUDGED, "correction")
    ):
        return body
    return {**body, "rating": _stars(values)}


def given(values: Mapping[str, Any], names: tuple[str, ...]) -> Json:
    """Those of the columns that hold something, as text."""
    found = {name: str(values[name]) for name in names if values.get(name) not in (None, "")}
    if (moment := values.get("occurred_at")) not in (None, ""):
        found["occurred_at"] = _moment(moment)
    return found


def _moment(value: Any) -> str:
    """A time as the feedback API takes it; one without an offset is meant as UTC."""
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        detail = "`occurred_at` must be a time such as 2026-01-31T12:00:00Z"
        raise wrong("/occurred_at", "not_a_time", detail) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


def _stars(values: Mapping[str, Any]) -> int:
    value = _number(values, "rating")
    if value not in (1, 2, 3, 4, 5):
        advice = "numbers from 0 to 1 belong in a column `human_rating`"
        detail = f"The column `rating` is {value:g}, but stars are 1 to 5; {advice}"
        raise wrong("/rating", "rating_not_stars", detail)
    return int(value)


def _share(values: Mapping[str, Any]) -> float:
    value = _number(values, "human_rating")
    if not 0 <= value <= 1:
        detail = f"The column `human_rating` is {value:g}, but must be from 0 to 1"
        raise wrong("/human_rating", "out_of_range", detail)
    return value


def _number(values: Mapping[str, Any], column: str) -> float:
    value = values.get(column)
    try:
        return float(value if not isinstance(value, bool) else "")  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise wrong(
            f"/{column}", "not_a_number", f"The column `{column}` is not a number"
        ) from None


def _given(short: Json) -> Json:
    return {name: value for name, value in short.items() if value not in (None, "")}


def write(group: Group) -> Iterator[Json]:
    """One row per post of feedback."""
    for row in whole(group.feedback):
        yield {
            "prompt": row["user_query"],
            "response": row["agent_response"],
            "rating": row["rating"],
            "human_rating": row["human_rating"],
            **{name: row[name] for name in RATED},
            **_origin(row),
            **_beside(row, group, NAME),
        }


def write_pairs(group: Group) -> Iterator[Json]:
    """One row per choice between two responses."""
    for row in group.preferences:
        if (better := chosen_and_rejected(row)) is not None:
            named = dict(zip(("chosen", "rejected"), better, strict=True))
            origin = {"prompt": row["prompt"], **named, **_origin(row)}
            yield origin | _beside(row, group, PAIRS_NAME)


def _origin(row: Stored) -> Json:
    """Where a post comes from; a session that only numbers the rows of an import is left out."""
    mark = mark_of(row)
    is_numbered = mark and row["session_id"] == f"{mark['source'][:180]}#{mark['row']}"
    return {
        "rater_id": row["clinician_id"],
        "session_id": None if is_numbered else row["session_id"],
        "agent_name": row["agent_name"],
        "task_type": row["task_type"],
        "comment": row["comments"],
        "occurred_at": row["timestamp"].isoformat(),
    }


def _beside(row: Stored, group: Group, name: str) -> Json:
    """The context as columns of their own."""
    return slices_of(row) | (group.kept if group.comes_from(name) else {})
