"""A tokenizer's own chat template, whose marks no text can forge.

The template puts the marks of turns around what people wrote. A text that spells such a mark must
not make one, so it is broken there by a character that no text may hold, and its parts are
tokenised apart. Everything else gets exactly the tokens that the tokenizer's own template gives.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import AutoTokenizer
from transformers.utils.chat_template_utils import render_jinja_template

from shared.errors import ArtifactError
from shared.ml.scorer import Turn
from shared.ml.tokens import control_ids

_BREAK = "\ufdd0"  # a noncharacter: Unicode keeps it out of texts
_REASONING = frozenset({"<think>", "</think>"})  # part of a response, not of the template's frame
# Templates that tell the date would give another reward every day: for them it is always this one.
_DATE = """\
{% macro strftime_now(format) %}{{ {"%d %b %Y": "26 Jul 2024", "%B %d, %Y": "July 26, 2024", \
"%d %B %Y": "26 July 2024", "%d-%m-%Y": "26-07-2024"}.get(format, "2024-07-26") }}\
{% endmacro +%}"""


class TemplateRefusal(Exception):
    """The template knows no such conversation, such as one with two turns of one side in a row."""


class ChatTemplate:
    """Conversations as ids, by the tokenizer and the template of a model folder."""

    def __init__(self, folder: Path) -> None:
        """Open both; the template may be no program that reaches beyond its texts.

        Raises:
            ArtifactError: one of them is missing, or the template refuses a plain conversation.
        """
        opened = _open_tokenizer(folder)
        self._tokenizer = opened.backend_tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = False  # that is, not as plain text
        self._template = _template_of(opened)
        self._names = dict(opened.special_tokens_map)
        added = self._tokenizer.get_added_tokens_decoder()
        frame = self._frame()
        more = [one.content for one in added.values() if _is_mark(one.content, frame)]
        self._control = control_ids(self._tokenizer, more)
        marks = "|".join(re.escape(added[at].content) for at in sorted(self._control)) or "(?!)"
        self._first_of_mark = re.compile(f"(?={marks})(.)", re.DOTALL)

    @property
    def has_own_marks(self) -> bool:
        """Whether special tokens part prompt and response; marks of plain text can be imitated."""
        _, _, after = self.rendered((Turn("user", "question"),), "reply").partition("question")
        return not self._control.isdisjoint(self.ids([after.partition("reply")[0]])[0])

    def rendered(self, turns: Sequence[Turn], response: str) -> str:
        """The conversation and the response as the text that is tokenised.

        Raises:
            TemplateRefusal: the template takes no such conversation.
        """
        chat = [{"role": turn.role, "content": turn.content} for turn in turns]
        return self._told([*chat, {"role": "assistant", "content": response}])

    def asked(self, turns: Sequence[Turn]) -> str:
        """The conversation as the text after which a response begins.

        Raises:
            TemplateRefusal: the template takes no such conversation.
        """
        chat = [{"role": turn.role, "content": turn.content} for turn in turns]
        return self._told(chat, add_generation_prompt=True)

    def end_of_response(self, otherwise: int | None) -> int | None:
        """The mark that ends a response; `otherwise` where the template ends it with none."""
        _, _, after = self.rendered((Turn("user", "question"),), "reply").partition("reply")
        marks = [at for at in self.ids([after])[0] if at in self._control]
        return marks[0] if marks else otherwise

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, in which marks are marks: for safe and for rendered texts only."""
        parts = [text.split(_BREAK) for text in texts]
        flat = [part for those in parts for part in those]
        encoded = iter(self._tokenizer.encode_batch(flat, add_special_tokens=False))
        return [[at for _ in those for at in next(encoded).ids] for those in parts]

    def starts(self, text: str) -> list[int]:
        """At which character of a safe text each of its ids begins."""
        found, at = [], 0
        for part in text.split(_BREAK):
            encoded = self._tokenizer.encode(part, add_special_tokens=False)
            found += [at + start for start, _ in encoded.offsets]
            at += len(part) + len(_BREAK)
        return found

    def safe(self, texts: Sequence[str]) -> list[str]:
        """The texts, broken wherever one of them spells a mark."""
        broken = [
            self._first_of_mark.sub(rf"\1{_BREAK}", text.replace(_BREAK, "\ufffd"))
            for text in texts
        ]
        return [
            text if self._control.isdisjoint(ids) else self._spelled(text)
            for text, ids in zip(broken, self.ids(broken), strict=True)
        ]

    def _told(self, chat: Any, **how: Any) -> str:
        try:
            found = render_jinja_template(
                [chat], chat_template=self._template, **how, **self._names
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise TemplateRefusal(type(error).__name__) from None
        return str(found[0][0])

    def _spelled(self, text: str) -> str:
        """Letter by letter: some tokenizers find a mark in texts that only look like it."""
        letters = text.replace(_BREAK, "")
        read = self.ids(letters)
        return _BREAK.join(
            letter for letter, ids in zip(letters, read, strict=True)
            if self._control.isdisjoint(ids)
        )  # fmt: skip

    def _frame(self) -> str:
        """What the template itself says in a conversation of empty turns."""
        empty = [Turn(role, "") for role in ("user", "assistant", "user")]
        try:
            return self.rendered(empty[:1], "") + self.rendered(empty, "")
        except TemplateRefusal as refusal:
            raise ArtifactError(
                f"The model's chat template cannot be used: it refuses a prompt with a response "
                f"({refusal}); use the template pair."
            ) from None


def has_chat_template(folder: Path) -> bool:
    """Whether the tokenizer in a model folder says how conversations are told."""
    return getattr(_open_tokenizer(folder), "chat_template", None) is not None


def _is_mark(token: str, frame: str) -> bool:
    """Whether a token that is not called special is one of the template's marks all the same."""
    is_word = token.isalnum() or token.isspace()
    return token in frame and not is_word and token not in _REASONING


def _open_tokenizer(folder: Path) -> Any:
    try:
        opened: Any = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ArtifactError(
            f"{folder} has no tokenizer that can be opened ({type(error).__name__}); "
            "save the model with a fast tokenizer."
        ) from None
    if not opened.is_fast:
        raise ArtifactError(f"{folder} has no fast tokenizer; save the model with one.")
    return opened


def _template_of(opened: Any) -> str:
    try:
        found = str(opened.get_chat_template())
    except ValueError:
        raise ArtifactError(
            "The model's tokenizer has no chat template; use the template pair."
        ) from None
    return _DATE + found if "strftime_now" in found else found
