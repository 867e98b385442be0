"""An interaction as it happens: its steps and its response, recorded when its block ends."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from heed_client import calls
from heed_client.calls import Call
from heed_client.errors import HeedError, HeedMisuse
from heed_client.resources import AsyncJudged, Judged
from heed_client.senders import AsyncSender, Sender

Response = str | Mapping[str, Any] | Sequence[Any]
log = logging.getLogger("heed_client.interaction")
_SAID_WITH_FEEDBACK = ("session_id", "agent_name")


@contextmanager
def _hushed(failure: type[BaseException] | None) -> Iterator[None]:
    """Inside, what the service refuses does not take the place of the application's own failure."""
    try:
        yield
    except HeedError as error:
        if failure is None:
            raise
        log.error("an interaction is not recorded: %s", type(error).__name__)


class Draft:
    """What is known of an interaction so far."""

    def __init__(self, prompt: str, fields: Mapping[str, Any]) -> None:
        self.prompt = prompt
        self.fields = {**fields}
        self.interaction_id = str(fields.get("interaction_id") or f"int_{uuid4().hex}")
        self.fields["interaction_id"] = self.interaction_id
        self.steps: list[dict[str, Any]] = []
        self.response: Response | None = None
        self._has_ended = False

    def about(self) -> dict[str, Any]:
        """What feedback on this interaction says of it."""
        named = {n: self.fields[n] for n in _SAID_WITH_FEEDBACK if n in self.fields}
        return {"interaction_id": self.interaction_id, **named}

    def add_step(self, content: str) -> str:
        """The id of a new step."""
        self._require_open()
        order = len(self.steps)
        step_id = f"{self.interaction_id}/{order}"
        self.steps.append({"id": step_id, "step_order": order, "step_content": content})
        return step_id

    def respond(self, response: Response) -> None:
        """Take note of the response."""
        self._require_open()
        self.response = response

    def _require_open(self) -> None:
        if self._has_ended:
            raise HeedMisuse("The block has ended; its steps and response are recorded already.")

    def finish(self, failure: type[BaseException] | None) -> list[Call[Any]]:
        """The calls that record it; none after a failure that left it without a response.

        Raises:
            HeedMisuse: the block ended well, but nobody said what was responded.
        """
        self._has_ended = True
        if self.response is None:
            if failure is None:
                raise HeedMisuse("Say what was responded: it.respond(...), before the block ends.")
            return []
        found: list[Call[Any]] = [calls.record(self.prompt, self.response, **self.fields)]
        if self.steps:
            found.append(calls.record_steps(self.interaction_id, self.steps))
        return found


class Interaction(Judged):
    """One exchange; feedback given through it, inside its block or later, points at it."""

    def __init__(self, sender: Sender, prompt: str, fields: Mapping[str, Any]) -> None:
        self._draft = Draft(prompt, fields)
        super().__init__(sender, self._draft.about())
        self.interaction_id = self._draft.interaction_id

    def step(self, content: str) -> Judged:
        """Note a reasoning step; what is returned takes feedback on that step."""
        return Judged(self._sender, {**self._about, "step_id": self._draft.add_step(content)})

    def respond(self, response: Response) -> None:
        """Note the response; it is recorded when the block ends."""
        self._draft.respond(response)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with _hushed(kind):
            for call in self._draft.finish(kind):
                self._sender.send(call)


class AsyncInteraction(AsyncJudged):
    """One exchange; feedback given through it, inside its block or later, points at it."""

    def __init__(self, sender: AsyncSender, prompt: str, fields: Mapping[str, Any]) -> None:
        self._draft = Draft(prompt, fields)
        super().__init__(sender, self._draft.about())
        self.interaction_id = self._draft.interaction_id

    def step(self, content: str) -> AsyncJudged:
        """Note a reasoning step; what is returned takes feedback on that step."""
        return AsyncJudged(self._sender, {**self._about, "step_id": self._draft.add_step(content)})

    def respond(self, response: Response) -> None:
        """Note the response; it is recorded when the block ends."""
        self._draft.respond(response)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with _hushed(kind):
            for call in self._draft.finish(kind):
                await self._sender.send(call)
