"""Stored rows as formats see them: what belongs to one source row, together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from heed_cli.exchange.posts import MARK, Json
from shared.contracts.values import Outcome

Stored = Mapping[str, Any]
_DIGITS = 9


@dataclass
class Group:
    """The rows of one source row, or of one target when they were not imported."""

    feedback: list[Stored] = field(default_factory=list)
    preferences: list[Stored] = field(default_factory=list)
    interactions: list[Stored] = field(default_factory=list)

    @property
    def origin(self) -> Json:
        """Format, source and row number, empty when the rows were not imported."""
        for row in (*self.feedback, *self.preferences, *self.interactions):
            return mark_of(row)
        return {}

    def in_order(self) -> "Group":
        """The same rows in the order in which the import made them of the source row."""
        for rows in (self.feedback, self.preferences):
            rows.sort(key=lambda row: str(mark_of(row).get("post", "")).zfill(_DIGITS))
        return self

    def unmarked(self) -> "Group":
        """The same rows as if they had not been imported."""
        return Group(
            [{**row, "context": slices_of(row)} for row in self.feedback],
            [{**row, "context": slices_of(row)} for row in self.preferences],
        )

    def comes_from(self, format_name: str) -> bool:
        """Whether the rows were imported in this format."""
        return bool(self.origin.get("format") == format_name)

    @property
    def kept(self) -> Json:
        """What the source row said beside our columns, if it could be kept."""
        for interaction in reversed(self.interactions):
            return dict(interaction["structured_response"] or {})
        return {}


def mark_of(row: Stored) -> Json:
    """What an imported row remembers of where it comes from."""
    mark = (row["context"] or {}).get(MARK)
    return dict(mark) if isinstance(mark, dict) else {}


def slices_of(row: Stored) -> Json:
    """The row's context without what the import added."""
    return {name: value for name, value in (row["context"] or {}).items() if name != MARK}


def chosen_and_rejected(row: Stored) -> tuple[str, str] | None:
    """The better and the worse response; None for ties and rankings, which have no such two."""
    both = row["response_a"], row["response_b"]
    if row["outcome"] not in (Outcome.A, Outcome.B) or None in both:
        return None
    return both if row["outcome"] == Outcome.A else (both[1], both[0])


def is_liked(row: Stored) -> bool | None:
    """Whether a person was content; None when a rating says neither (3 of 5 stars, 0.5 of 1)."""
    if row["thumbs"] is not None:
        return bool(row["thumbs"] == "up")
    if row["rating"] is not None:
        return None if row["rating"] == 3 else row["rating"] > 3
    if row["human_rating"] is not None:
        return None if row["human_rating"] == 0.5 else row["human_rating"] > 0.5
    return None


def whole(rows: Iterable[Stored]) -> Iterable[Stored]:
    """Feedback on whole responses whose prompt and response are there to be written."""
    return (
        row
        for row in rows
        if row["step"] == "" and row["user_query"] is not None and row["agent_response"] is not None
    )
