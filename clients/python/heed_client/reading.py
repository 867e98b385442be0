"""Calls that read, as values; see `calls` for those that post."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypedDict, TypeVar, Unpack

from heed_client.calls import Call
from heed_client.encoding import path_part
from heed_client.results import (
    FeedbackRow,
    InteractionRow,
    Page,
    PreferenceRow,
    Result,
    StepRow,
)

Row = TypeVar("Row", bound=Result)
PAGE = 100


class Filters(TypedDict, total=False):
    """Which rows; `since` is the earliest time a version was stored."""

    session_id: str
    agent_name: str
    interaction_id: str
    task_type: str
    since: datetime


@dataclass(frozen=True)
class Listing(Generic[Row]):
    """All pages of something."""

    page: Callable[[str | None], Call[Page[Row]]]


class Steps(Result):
    """The steps of an interaction, in order."""

    items: list[StepRow]


def list_feedback(**filters: Unpack[Filters]) -> Listing[FeedbackRow]:
    """Live feedback, newest first, page by page as it is read."""
    return _listing("/feedback", Page[FeedbackRow], filters)


def list_preferences(**filters: Unpack[Filters]) -> Listing[PreferenceRow]:
    """Live comparisons, newest first, page by page as they are read."""
    return _listing("/preference", Page[PreferenceRow], filters)


def list_interactions(**filters: Unpack[Filters]) -> Listing[InteractionRow]:
    """Recorded interactions, newest first, page by page as they are read."""
    return _listing("/interactions", Page[InteractionRow], filters)


def get_feedback(feedback_id: str) -> Call[FeedbackRow]:
    """One feedback and its earlier versions."""
    return Call("GET", _at("/feedback", feedback_id), FeedbackRow)


def get_preference(preference_id: str) -> Call[PreferenceRow]:
    """One comparison and its earlier versions."""
    return Call("GET", _at("/preference", preference_id), PreferenceRow)


def get_interaction(interaction_id: str) -> Call[InteractionRow]:
    """One recorded interaction."""
    return Call("GET", _at("/interactions", interaction_id), InteractionRow)


def get_steps(interaction_id: str) -> Call[Steps]:
    """The reasoning steps of an interaction, in order."""
    return Call("GET", _at("/interactions", interaction_id) + "/steps", Steps)


def _at(path: str, identity: str) -> str:
    return f"{path}/{path_part(identity)}"


def _listing(path: str, page: type[Page[Row]], filters: Filters) -> Listing[Row]:
    wanted: dict[str, Any] = {"limit": PAGE, **filters}
    if (since := filters.get("since")) is not None:
        wanted["since"] = since.isoformat()
    return Listing(lambda cursor: Call("GET", path, page, params={**wanted, "cursor": cursor}))
