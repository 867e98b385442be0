"""HH-RLHF: two whole dialogues, `chosen` and `rejected`, that part at some turn."""

from collections.abc import Iterator, Mapping
from os.path import commonprefix
from typing import Any

from heed_cli.exchange.posts import Json, Post, beside, pair, recorded, text_of, wrong
from heed_cli.exchange.stored import Group, Stored, chosen_and_rejected, mark_of, slices_of

NAME = "hh-rlhf"
TURN = "\n\nAssistant:"
COLUMNS = ("chosen", "rejected")
_USUAL = {"prompt": ["\n\n", ""], "chosen": [" ", ""], "rejected": [" ", ""]}


def read(values: Mapping[str, Any]) -> Iterator[Post]:
    """One comparison: before the turn where the dialogues part is the prompt, after it responses.

    The white space around prompt and responses is remembered, not stored with them.

    Raises:
        InvalidInput: a dialogue is missing or has no turn of the assistant in common.
    """
    prompt, chosen, rejected = part(text_of(values, "chosen"), text_of(values, "rejected"))
    margins = {
        name: [
            text[: len(text) - len(text.lstrip())],
            text[len(text.rstrip()) :] if text.strip() else "",
        ]
        for name, text in (("prompt", prompt), ("chosen", chosen), ("rejected", rejected))
    }
    remembered = {} if margins == _USUAL else {"margins": margins}
    short, kept = beside(values, COLUMNS)
    body = pair(prompt.strip(), chosen.strip(), rejected.strip())
    yield Post("preference", body | {"context": short}, remembered)
    yield from recorded(body["prompt"], kept)


def part(chosen: str, rejected: str) -> tuple[str, str, str]:
    """Prompt, chosen and rejected response, whose joints are `TURN`; no letter is lost.

    Raises:
        InvalidInput: the dialogues share no turn of the assistant.
    """
    before, other_before = chosen.rpartition(TURN)[0], rejected.rpartition(TURN)[0]
    if before != other_before or not before:
        before, turn, _ = commonprefix([chosen, rejected]).rpartition(TURN)
        if not turn:
            raise wrong(
                "/rejected",
                "unrelated_dialogues",
                "The dialogues share no turn of the assistant, so nothing is compared; remove it",
            )
    end = len(before) + len(TURN)
    return before, chosen[end:], rejected[end:]


def write(group: Group) -> Iterator[Json]:
    """One row for each choice between two responses."""
    for row in group.preferences:
        if (better := chosen_and_rejected(row)) is not None:
            own = {**slices_of(row), **group.kept} if group.comes_from(NAME) else {}
            yield {**_dialogues(row, *better), **own}


def _dialogues(row: Stored, chosen: str, rejected: str) -> Json:
    margins = mark_of(row).get("margins") or _USUAL
    prompt = row["prompt"]
    if mark_of(row).get("format") != NAME and not prompt.startswith("Human:"):
        prompt = f"Human: {prompt}"
    start = _within(margins["prompt"], prompt) + TURN
    return {
        "chosen": start + _within(margins["chosen"], chosen),
        "rejected": start + _within(margins["rejected"], rejected),
    }


def _within(margins: list[str], text: str) -> str:
    return f"{margins[0]}{text}{margins[1]}"
