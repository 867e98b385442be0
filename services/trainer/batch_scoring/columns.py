"""Which columns of a row are prompt and responses, and the pairs that a row holds."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from shared.contracts.scoring import Message, render_messages
from shared.contracts.storable import is_unicode
from shared.errors import InvalidInput
from shared.ml.scorer import Pair, Turn

_MESSAGES = "messages"
_PROMPTS = ("prompt", "user_query", "query", "user_prompt", "question", "instruction", _MESSAGES)
_RESPONSES = ("response", "agent_response", "ai_response", "output", "answer")
_COMPARED = ("chosen", "rejected")
_ASSISTANT = "assistant"
Prompt = str | list[Message]

_conversation = TypeAdapter(list[Message])


class BadRow(InvalidInput):
    """A row that cannot be scored; the message says why, in a few words without its text."""


@dataclass(frozen=True)
class Roles:
    """What the columns of a file mean.

    Attributes:
        prompt: the column of the prompt; None: the turns before the response are the prompt.
        responses: columns of responses by what the names of their results begin with.
    """

    prompt: str | None
    responses: Mapping[str, str]

    @property
    def columns(self) -> list[str]:
        """All columns that are read."""
        return [*([self.prompt] if self.prompt else []), *self.responses.values()]


def find_roles(
    columns: Collection[str], *, prompt: str | None = None, response: str | None = None
) -> Roles:
    """What columns mean by their names; `prompt` and `response` are the columns that one named.

    Raises:
        InvalidInput: there are no responses, or a named column is not there.
    """
    for named in (prompt, response):
        if named is not None and named not in columns:
            raise InvalidInput(f"There is no column {named!r}; {_listed(columns)}.")
    responses = _find_responses(columns, response)
    taken = set(responses.values())
    found = prompt or next((one for one in _PROMPTS if one in columns and one not in taken), None)
    return Roles(found, responses)


def _find_responses(columns: Collection[str], named: str | None) -> dict[str, str]:
    if named is not None:
        return {"": named}
    one = next((name for name in _RESPONSES if name in columns), None)
    if one is not None:
        return {"": one}
    if set(_COMPARED) <= set(columns):
        return {f"{name}_": name for name in _COMPARED}
    if _MESSAGES in columns:
        return {"": _MESSAGES}
    raise InvalidInput(
        f"No column holds responses; {_listed(columns)}. Name them with --prompt-column and "
        "--response-column."
    )


def _listed(columns: Collection[str]) -> str:
    return f"there are {', '.join(sorted(columns)[:20]) or 'none'}"


def pairs_of(values: Mapping[str, Any], roles: Roles) -> list[Pair]:
    """A pair for each response of a row.

    Raises:
        BadRow: a column is missing, or holds something else.
    """
    prompt = None if roles.prompt is None else _cell(values, roles.prompt)
    return [_pair(values, column, prompt) for column in roles.responses.values()]


def _pair(values: Mapping[str, Any], column: str, prompt: Prompt | None) -> Pair:
    cell = _cell(values, column)
    if isinstance(cell, str):
        if prompt is None:
            raise BadRow("there is no prompt; name its column with --prompt-column")
        return _paired(prompt, cell)
    *before, last = cell
    if last.role != _ASSISTANT:
        raise BadRow(f"the conversation in `{column}` does not end with the assistant")
    if prompt is None and not before:
        raise BadRow(f"the conversation in `{column}` has no turn before the response")
    return _paired(before if prompt is None else prompt, last.content)


def _paired(prompt: Prompt, response: str) -> Pair:
    """A pair as `/score` makes it: the turns of a conversation stay beside its text."""
    if isinstance(prompt, str):
        return Pair(prompt, response)
    is_one_question = [turn.role for turn in prompt] == ["user"]
    turns = tuple(Turn(turn.role, turn.content) for turn in prompt)
    return Pair(render_messages(prompt), response, () if is_one_question else turns)


def _cell(values: Mapping[str, Any], column: str) -> Prompt:
    """A text, or a conversation: as a list, or in a column of that name as JSON."""
    value = values.get(column)
    if value is None:
        raise BadRow(f"`{column}` is missing")
    if isinstance(value, str) and not (column == _MESSAGES and value.lstrip().startswith("[")):
        return _encodable(value, column)
    try:
        is_json = isinstance(value, str)
        read = (
            _conversation.validate_json(value) if is_json else _conversation.validate_python(value)
        )
    except ValidationError:
        raise BadRow(f"`{column}` is neither a text nor a conversation") from None
    if not read:
        raise BadRow(f"the conversation in `{column}` is empty")
    return read


def _encodable(text: str, column: str) -> str:
    if not is_unicode(text):
        raise BadRow(f"`{column}` holds half of a surrogate pair")
    return text
