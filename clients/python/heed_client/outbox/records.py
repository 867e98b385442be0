"""What the outbox holds, and what it tells of what it does not keep. No text is in any repr."""

from collections.abc import Callable
from dataclasses import dataclass, field

from heed_client.errors import Problem


@dataclass(frozen=True)
class Waiting:
    """One post on disk."""

    seq: int
    path: str
    body: bytes = field(repr=False)
    failures: int = 0


@dataclass(frozen=True)
class Dropped:
    """A post that will not be sent: refused by the service, or never kept."""

    path: str
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Refused(Dropped):
    """A post that the service refused for good; it stays on disk until it is discarded."""

    seq: int
    problem: Problem
    refused_at: float


OnDrop = Callable[[Dropped, Problem], None]

FULL = Problem(
    status=507, code="outbox_full", detail="The outbox holds as much as it may; not kept."
)
CLOSED = Problem(status=507, code="outbox_closed", detail="The outbox is closed; not kept.")


def unusable(error: Exception) -> Problem:
    """The outbox's file cannot be written: no space, no permission, a broken disk."""
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    detail = f"The outbox cannot be written ({name}); not kept."
    return Problem(status=507, code="outbox_unusable", detail=detail)
