"""Prompt and response out of one text, as those send it who let the reward model's own template
join the two.

Turns are found by the marks of the usual chat templates. The last turn is the response, the turns
before it are the prompt. Text without such marks is a response to an empty prompt.
"""

import re
from collections import deque
from collections.abc import Iterable, Sequence

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
# What begins a turn in each family of templates. A text is written in the one whose mark comes
# first; the marks of others are then words that somebody wrote.
_FAMILIES = tuple(
    re.compile(mark)
    for mark in (
        r"<\|im_start\|>(\w+)(?:\n|<\|im_sep\|>)",  # ChatML, Phi 4
        r"<\|start_header_id\|>(\w+)<\|end_header_id\|>",  # Llama 3
        r"<\|header_start\|>(\w+)<\|header_end\|>",  # Llama 4
        r"<start_of_turn>(\w+)\n",  # Gemma
        r"<\|(system|user|assistant)\|>",  # Zephyr, Phi 3
        r"<｜(User|Assistant)｜>",  # DeepSeek
        r"\[(/?INST)\]|<<(/?SYS)>>",  # Llama 2, Mistral; the one with two groups is the last
    )
)
_FIRST_TURN = re.compile("|".join(family.pattern for family in _FAMILIES))
_WORD_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|User|Assistant|AI|System|user|assistant|system): ?")
_MARKS = (
    "<|im_end|>", "<|eot_id|>", "<|eot|>", "<|end|>", "<|endoftext|>", "<|end_of_text|>",
    "<|begin_of_text|>", "<end_of_turn>", "<s>", "</s>", "<bos>", "<eos>", "<pad>",
    "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>",
)  # fmt: skip
# What is before the last so many turns counts as one, so that no text becomes work for minutes.
_MOST_TURNS = 1000


def _any_of(marks: Iterable[str]) -> re.Pattern[str]:
    """White space and marks at the beginning of a text; never goes back, so time is linear."""
    return re.compile(rf"(?:\s++|{'|'.join(map(re.escape, marks))})*+")


_LEADING = _any_of(_MARKS)
_TRAILING = _any_of(mark[::-1] for mark in _MARKS)  # of a text written backwards


def split(text: str) -> Pair:
    """The last turn of a text as the response, what comes before as the prompt."""
    *before, last = _turns(text, _marks(text))
    return _pair(before, last.content)


def split_after(prompt: str, text: str) -> Pair:
    """A text that goes on where its prompt ends; the marks of templates count in neither.

    A text that does not begin with the prompt is split by its marks.
    """
    at = text.find(prompt) if prompt else -1
    if at < 0 or _bare(text[:at]):
        return split(text)
    return answered(prompt, _bare(text[at + len(prompt) :]))


def answered(prompt: str, response: str) -> Pair:
    """A response to a prompt that may be written in the marks of a template.

    What the prompt has begun to say as the assistant, such as `<think>`, belongs to the response.
    """
    marks = _marks(prompt)
    turns = _turns(prompt, marks)
    if turns[-1].role == "assistant" and not prompt.rstrip().endswith(_MARKS):
        turns.pop()
        response = prompt[marks[-1].end() :].lstrip() + response
    return _pair(turns, response)


def pair_of(messages: Sequence[Message]) -> Pair:
    """A conversation's last message as the response, those before as the prompt."""
    *before, last = (Turn(message.role, message.content) for message in messages)
    return _pair(before, last.content)


def _pair(turns: Sequence[Turn], response: str) -> Pair:
    said = [turn for turn in turns if turn.content]
    is_prompt = len(said) == 1 and said[0].role == "user"
    return Pair(render_messages(said), response, () if is_prompt else tuple(said))


def _marks(text: str) -> list[re.Match[str]]:
    """Where turns begin."""
    first = _FIRST_TURN.search(text)
    if first is not None:
        family = _FAMILIES[min(first.lastindex or 1, len(_FAMILIES)) - 1]
        return list(deque(family.finditer(text), _MOST_TURNS))
    if _WORD_TURN.match(text):
        return list(deque(_WORD_TURN.finditer(text), _MOST_TURNS))
    return []


def _turns(text: str, marks: Sequence[re.Match[str]]) -> list[Turn]:
    """At least one turn; a text without marks is a turn of the user."""
    if not marks:
        return [Turn("user", text)]
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    before = _bare(text[: marks[0].start()])
    first = [Turn("system", before)] if before else []
    return first + [
        Turn(_role(mark), _bare(text[mark.end() : end]))
        for mark, end in zip(marks, ends, strict=True)
    ]


def _role(mark: re.Match[str]) -> str:
    said = mark[mark.lastindex or 1].lower()
    return _ROLES.get(said, said)


def _bare(text: str) -> str:
    """The text without white space and marks at either end."""
    end = len(text) - _beginning(_TRAILING, text[::-1])
    return text[_beginning(_LEADING, text[:end]) : end]


def _beginning(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.match(text)
    return found.end() if found else 0
