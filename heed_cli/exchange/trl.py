"""The dataset types of TRL: preference, unpaired preference (KTO), prompt-only.

Both its forms are read: plain texts, and conversations (lists of messages). A conversation that
its text cannot give back exactly is kept beside it.
"""

from collections.abc import Iterator, Mapping
from os.path import commonprefix
from typing import Any

from heed_cli.exchange.hh_rlhf import TURN
from heed_cli.exchange.messages import (
    as_messages,
    as_text,
    is_conversation,
    response_messages,
    response_text,
)
from heed_cli.exchange.posts import Json, Post, beside, pair, recorded, text_of, wrong
from heed_cli.exchange.stored import Group, Stored, chosen_and_rejected, is_liked, slices_of, whole

PREFERENCE, UNPAIRED, PROMPT_ONLY = "trl-preference", "trl-unpaired", "trl-prompt-only"
_CONVERSED = {"prompt", "chosen", "rejected", "completion"}


def read_preference(values: Mapping[str, Any]) -> Iterator[Post]:
    """One comparison, with an explicit or an implicit prompt.

    Raises:
        InvalidInput: a column is missing, or neither text nor a conversation.
    """
    turns = _with_prompt(values)
    texts, odd = _texts(turns)
    short, kept = beside(values, ("prompt", "chosen", "rejected"))
    body = pair(texts["prompt"], texts["chosen"], texts["rejected"])
    yield Post("preference", body | {"context": short}, {})
    yield from recorded(body["prompt"], kept | odd)


def read_unpaired(values: Mapping[str, Any]) -> Iterator[Post]:
    """A thumb up or down for one response.

    Raises:
        InvalidInput: a column is missing, or `label` is not true or false.
    """
    texts, odd = _texts({name: values.get(name) for name in ("prompt", "completion")})
    if not isinstance(values.get("label"), bool):
        raise wrong("/label", "not_a_label", "The column `label` must be true or false")
    short, kept = beside(values, ("prompt", "completion", "label"))
    thumbs = "up" if values["label"] else "down"
    body = {"prompt": texts["prompt"], "response": texts["completion"], "thumbs": thumbs}
    yield Post("feedback", body | {"context": short}, {})
    yield from recorded(texts["prompt"], kept | odd)


def read_prompt(values: Mapping[str, Any]) -> Iterator[Post]:
    """A recorded prompt whose response is empty; nobody has judged anything.

    Raises:
        InvalidInput: the prompt is missing, or neither text nor a conversation.
    """
    texts, odd = _texts({"prompt": values.get("prompt")})
    short, kept = beside(values, ("prompt",))
    body = {"prompt": texts["prompt"], "response": kept | odd or "", "context": short}
    yield Post("interaction", body, {})


def _with_prompt(values: Mapping[str, Any]) -> Json:
    if "prompt" in values:
        return {name: values.get(name) for name in ("prompt", "chosen", "rejected")}
    chosen: Any = values.get("chosen")
    rejected: Any = values.get("rejected")
    if is_conversation(chosen) and is_conversation(rejected):
        longest = min(len(chosen), len(rejected)) - 1
        end = next((n for n in range(longest) if chosen[n] != rejected[n]), longest)
        return {"prompt": chosen[:end], "chosen": chosen[end:], "rejected": rejected[end:]}
    return _implicit(text_of(values, "chosen"), text_of(values, "rejected"))


def _implicit(chosen: str, rejected: str) -> Json:
    """What two texts share is the prompt; dialogues part behind a turn, others behind a word."""
    shared = commonprefix([chosen, rejected])
    turn, word = shared.rfind(TURN), shared.rfind(" ")
    end = turn + len(TURN) if turn >= 0 else max(word, 0)
    return {"prompt": shared[:end], "chosen": chosen[end:], "rejected": rejected[end:]}


def _texts(turns: Json) -> tuple[dict[str, str], Json]:
    """Each turn as text, and those conversations that their text does not give back."""
    texts: dict[str, str] = {}
    odd: Json = {}
    for name, value in turns.items():
        if not is_conversation(value):
            texts[name] = text_of(turns, name)
            continue
        to_text, back = _forms(name)
        texts[name] = to_text(value)
        if back(texts[name]) != value:
            odd[name] = value
    return texts, odd


def _forms(name: str) -> tuple[Any, Any]:
    is_prompt = name == "prompt"
    return (as_text, as_messages) if is_prompt else (response_text, response_messages)


def write_preference(group: Group, *, conversational: bool = False) -> Iterator[Json]:
    """One row per choice between two responses."""
    for row in group.preferences:
        if (better := chosen_and_rejected(row)) is not None:
            texts = {"prompt": row["prompt"], "chosen": better[0], "rejected": better[1]}
            yield _turns(texts, group, conversational) | _beside(row, group, PREFERENCE)


def write_unpaired(group: Group, *, conversational: bool = False) -> Iterator[Json]:
    """One row per response that a person liked or disliked."""
    for row in whole(group.feedback):
        if (label := is_liked(row)) is not None:
            texts = {"prompt": row["user_query"], "completion": row["agent_response"]}
            turns = _turns(texts, group, conversational)
            yield {**turns, "label": label, **_beside(row, group, UNPAIRED)}


def write_prompt(group: Group, *, conversational: bool = False) -> Iterator[Json]:
    """One row per prompt that was recorded alone, or that people judged responses to."""
    if group.comes_from(PROMPT_ONLY):
        [row, *_] = group.interactions
        turns = _turns({"prompt": row["user_prompt"]}, group, conversational)
        yield turns | _beside(row, group, PROMPT_ONLY)
        return
    prompts = [row["user_query"] for row in whole(group.feedback)]
    prompts += [row["prompt"] for row in group.preferences]
    for prompt in dict.fromkeys(prompts):
        yield _turns({"prompt": prompt}, group, conversational)


def _turns(texts: Mapping[str, str], group: Group, conversational: bool) -> Json:
    if not conversational:
        return dict(texts)
    kept = group.kept
    return {name: kept.get(name) or _forms(name)[1](text) for name, text in texts.items()}


def _beside(row: Stored, group: Group, name: str) -> Json:
    """What the row said beside TRL's columns, when it was imported in this very type."""
    if not group.comes_from(name):
        return {}
    kept = {name: value for name, value in group.kept.items() if name not in _CONVERSED}
    return slices_of(row) | kept
