"""Conversations: a list of messages, as the one text that our columns hold, and back."""

import re
from typing import Any

Message = dict[str, Any]

_NAMES = {"user": "Human", "assistant": "Assistant", "system": "System"}
_ROLES = {name: role for role, name in _NAMES.items()}
_TURN = re.compile(rf"(?:\A|\n\n)({'|'.join(_ROLES)}):(?: |(?=\n)|\Z)")


def is_conversation(value: object) -> bool:
    """Whether a value is a list of messages with a role and a text each."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, dict) and _is_message(item) for item in value)
    )


def _is_message(item: Message) -> bool:
    return isinstance(item.get("content"), str) and isinstance(item.get("role"), str)


def as_text(messages: list[Message]) -> str:
    """A lone message of the user as it is; else turns such as `Human: …` and `Assistant: …`."""
    if [message["role"] for message in messages] == ["user"]:
        return str(messages[0]["content"])
    turns = (f"{_NAMES.get(one['role'], one['role'])}: {one['content']}" for one in messages)
    return "\n\n".join(turns)


def as_messages(text: str) -> list[Message]:
    """The messages of a dialogue's text; a text without turns is one message of the user."""
    found = list(_TURN.finditer(text))
    if not found or found[0].start() != 0:
        return [{"role": "user", "content": text}]
    ends = [turn.start() for turn in found[1:]] + [len(text)]
    return [
        {"role": _ROLES[turn[1]], "content": text[turn.end() : end]}
        for turn, end in zip(found, ends, strict=True)
    ]


def response_text(messages: list[Message]) -> str:
    """A lone message of the assistant as it is; else turns."""
    if [message["role"] for message in messages] == ["assistant"]:
        return str(messages[0]["content"])
    return as_text(messages)


def response_messages(text: str) -> list[Message]:
    """A response as messages; one without turns is one message of the assistant."""
    found = as_messages(text)
    is_plain = len(found) == 1 and found[0]["content"] == text
    return [{"role": "assistant", "content": text}] if is_plain else found
