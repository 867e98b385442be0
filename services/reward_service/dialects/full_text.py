"""Prompt and response out of one text, as those send it who let the reward model's own template
join the two.

Turns are found by the marks of the usual chat templates. The last turn is the response, the turns
before it are the prompt. Text without such marks is a response to an empty prompt.
"""

import re
from collections.abc import Sequence

from shared.contracts.scoring import Message, render_messages
from shared.ml.scorer import Pair, Turn

_ROLES = {
    "human": "user",
    "inst": "user",
    "/sys": "user",
    "sys": "system",
    "ai": "assistant",
    "model": "assistant",
    "/inst": "assistant",
}
# ChatML; Llama 3; Llama 4; Gemma; Zephyr and Phi; DeepSeek; Llama 2 and Mistral. Each begins with a
# letter of its own kind, so that the search for them passes over all others.
_TURN = re.compile(
    r"<\|im_start\|>(\w+)\n"
    r"|<\|start_header_id\|>(\w+)<\|end_header_id\|>"
    r"|<\|header_start\|>(\w+)<\|header_end\|>"
    r"|<start_of_turn>(\w+)\n"
    r"|<\|(system|user|assistant)\|>"
    r"|<｜(User|Assistant)｜>"
    r"|\[(/?INST)\]"
    r"|<<(/?SYS)>>"
)
_WORD_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|User|Assistant|AI|System|user|assistant|system): ?")
_MARKS = (
    "<|im_end|>", "<|eot_id|>", "<|eot|>", "<|end|>", "<|endoftext|>", "<|end_of_text|>",
    "<|begin_of_text|>", "<end_of_turn>", "<s>", "</s>", "<bos>", "<eos>", "<pad>",
    "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>",
)  # fmt: skip
_LEADING = re.compile(rf"(?:\s|{'|'.join(map(re.escape, _MARKS))})*")


def split(text: str) -> Pair:
    """The last turn of a text as the response, what comes before as the prompt."""
    return pair_of(_turns(text))


def split_after(prompt: str, text: str) -> Pair:
    """A text that goes on where its prompt ends; the marks of templates count in neither.

    A text that does not begin with the prompt is split by its marks.
    """
    at = text.find(prompt) if prompt else -1
    if at < 0 or _bare(text[:at]):
        return split(text)
    return answered(prompt, _bare(text[at + len(prompt) :]))


def answered(prompt: str, response: str) -> Pair:
    """A response to a prompt that may be written in the marks of a template."""
    turns = _turns(prompt)
    if turns[-1] == Message(role="assistant", content=""):  # where the response begins
        turns.pop()
    return _pair(turns, response)


def pair_of(messages: Sequence[Message]) -> Pair:
    """A conversation's last message as the response, those before as the prompt."""
    return _pair(messages[:-1], messages[-1].content)


def _pair(messages: Sequence[Message], response: str) -> Pair:
    said = [message for message in messages if message.content]
    is_prompt = len(said) == 1 and said[0].role == "user"
    turns = () if is_prompt else tuple(Turn(each.role, each.content) for each in said)
    return Pair(render_messages(said), response, turns)


def _turns(text: str) -> list[Message]:
    """At least one turn; a text without marks is a turn of the user."""
    marks = list(_TURN.finditer(text))
    if not marks and _WORD_TURN.match(text):
        marks = list(_WORD_TURN.finditer(text))
    if not marks:
        return [_turn("user", text)]
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    before = _bare(text[: marks[0].start()])
    first = [_turn("system", before)] if before else []
    return first + [
        _turn(_role(mark), _bare(text[mark.end() : end]))
        for mark, end in zip(marks, ends, strict=True)
    ]


def _turn(role: str, content: str) -> Message:
    return Message.model_construct(role=role, content=content)  # of text that was validated


def _role(mark: re.Match[str]) -> str:
    said = next(group for group in mark.groups() if group).lower()
    return _ROLES.get(said, said)


def _bare(text: str) -> str:
    """The text without white space and marks at either end, in one pass over each."""
    end = len(text)
    while end and (cut := _trailing(text, end)):
        end -= cut
    found = _LEADING.match(text, 0, end)
    return text[found.end() if found else 0 : end]


def _trailing(text: str, end: int) -> int:
    """How many letters before `end` are white space or a mark."""
    if text[end - 1].isspace():
        return 1
    return next((len(mark) for mark in _MARKS if text.endswith(mark, 0, end)), 0)
