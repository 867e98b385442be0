"""A dry run: what the feedback API would say of each post, without sending any."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from pydantic import TypeAdapter

from heed_cli.exchange.sending import Item, Outcome
from services.feedback_api.deps import parse
from services.feedback_api.intake import (
    Source,
    feedback_post,
    interaction_post,
    preference_post,
)
from services.feedback_api.schemas import FeedbackIn, InteractionIn, PreferenceIn
from shared.errors import InvalidInput
from shared.keys import Principal

_NOBODY = Principal("dry-run", 1, frozenset())
_KINDS: dict[str, tuple[TypeAdapter[Any], Any]] = {
    "feedback": (TypeAdapter(FeedbackIn), feedback_post),
    "preference": (TypeAdapter(PreferenceIn), preference_post),
    "interaction": (TypeAdapter(InteractionIn), interaction_post),
}


class Checker:
    """Stands where a `Sender` would, and validates as the feedback API does."""

    async def __aenter__(self) -> "Checker":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """There is nothing to close."""

    async def require_welcome(self) -> None:
        """There is nobody to ask."""

    async def send(self, items: Sequence[Item]) -> list[Outcome]:
        """What would become of the items."""
        return [check(item) for item in items]


def check(item: Item) -> Outcome:
    """What the feedback API would say of one item, as far as its body tells."""
    shape, to_post = _KINDS[item.post.kind]
    source = Source(_NOBODY, secret=bytes(32), default_consent=True, raw_body=item.body)
    try:
        to_post(parse(shape, item.body), source)
    except InvalidInput as error:
        errors = [vars(detail) for detail in error.errors]
        return Outcome(item, 422, {"code": error.code, "detail": error.detail, "errors": errors})
    return Outcome(item, 201)
