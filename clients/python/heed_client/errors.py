"""What can go wrong.

HeedError
├── HeedProblem       the service replied with an error; mirrors problem+json
├── HeedUnreachable   no reply within the deadline; nothing is known to be stored
└── HeedMisuse        the call itself cannot be right (also a ValueError)

A message never holds a prompt, a response, a comment or a key.
"""

from pydantic import BaseModel, ConfigDict


class HeedError(Exception):
    """Any failure of this library."""


class WrongPlace(BaseModel):
    """One wrong place: a JSON pointer into the body, or `?name` for a query parameter."""

    model_config = ConfigDict(frozen=True)

    pointer: str = ""
    code: str = ""
    detail: str = ""


class Problem(BaseModel):
    """A refusal as the service describes it (RFC 9457)."""

    model_config = ConfigDict(frozen=True)

    status: int
    code: str = "unknown"
    title: str = ""
    detail: str = ""
    errors: tuple[WrongPlace, ...] = ()
    request_id: str | None = None

    @property
    def is_passing(self) -> bool:
        """Whether the same request may succeed later without being changed."""
        return self.status in {408, 425, 429} or self.status >= 500


class HeedProblem(HeedError):
    """The service replied with an error.

    Attributes:
        problem: what the service said; `code`, `status`, `detail`, `errors` and `request_id`
            are its fields.
        retry_after_s: how many seconds to wait before trying again, when the service said so.
    """

    def __init__(self, problem: Problem, *, retry_after_s: float | None = None) -> None:
        super().__init__(problem, retry_after_s)
        self.problem = problem
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        what = self.problem.detail or self.problem.title or "no explanation"
        trace = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.status} {self.code}: {what}{trace}"

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem.status

    @property
    def code(self) -> str:
        """Stable; callers may switch on it."""
        return self.problem.code

    @property
    def errors(self) -> tuple[WrongPlace, ...]:
        """Each wrong place in what was sent."""
        return self.problem.errors

    @property
    def request_id(self) -> str | None:
        """What to look up in the service's log."""
        return self.problem.request_id

    @property
    def retry_after(self) -> float | None:
        """The same as `retry_after_s`, under the header's name."""
        return self.retry_after_s


class HeedUnreachable(HeedError):
    """No reply within the deadline. Whether the post was stored is unknown; repeat it."""


class HeedMisuse(HeedError, ValueError):
    """The call cannot be right, whatever the service says; the message says what to change."""
