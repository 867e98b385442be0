"""What a transformer reads of a prompt and a response: one row of ids, cut to its window."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from shared.contracts.manifest import Template, Truncation
from shared.ml.scorer import Pair
from shared.ml.tokens import TextTokenizer

PAIRS_AT_ONCE = 256


@dataclass(frozen=True)
class PairWindow:
    """The ids a transformer reads of one pair, and whether some were cut off.

    A model that reads responses only cuts nothing off when it leaves out the prompt.

    Attributes:
        types: by id 0 for the prompt's side and 1 for the response's, for models that tell the
            two apart by it; None for others.
    """

    ids: list[int]
    truncated: bool
    types: list[int] | None = None


class WindowTokenizer(Protocol):
    """Turns pairs into what a model reads of them."""

    def windows(self, pairs: Sequence[Pair]) -> list[PairWindow]:
        """The window of each pair; it never depends on the other pairs."""


class PairTokenizer:
    """Prompt and response as one row of ids; the prompt gives way before the response does."""

    def __init__(self, folder: Path, truncation: Truncation, *, separator: str) -> None:
        """Use a folder's tokenizer; `separator` is a special token or a plain text.

        Without one the tokenizer's own layout of two texts is used, with the types of its ids.

        Raises:
            ArtifactError: the folder has no readable tokenizer.
        """
        self._tokenizer = TextTokenizer(folder)
        self._truncation = truncation
        self._has_types = False
        self._prefix, self._suffix = self._tokenizer.prefix, self._tokenizer.suffix
        if separator:
            special = self._tokenizer.token_id(separator)
            plain = self._tokenizer.ids([separator])[0]
            self._separator = [special] if special is not None else plain
        else:
            layout = self._tokenizer.pair_layout()
            self._prefix, self._separator, self._suffix = (
                layout.prefix,
                layout.middle,
                layout.suffix,
            )
            self._has_types = layout.has_types and _tells_types(folder)

    def windows(self, pairs: Sequence[Pair]) -> list[PairWindow]:
        """prefix + end of the prompt + separator + start of the response + suffix."""
        found: list[PairWindow] = []
        for start in range(0, len(pairs), PAIRS_AT_ONCE):
            found += self._some_windows(pairs[start : start + PAIRS_AT_ONCE])
        return found

    def _some_windows(self, pairs: Sequence[Pair]) -> list[PairWindow]:
        """Windows of few enough pairs to hold all their ids; a prompt of several is read once."""
        distinct = list(dict.fromkeys(pair.prompt for pair in pairs))
        prompts = dict(zip(distinct, self._tokenizer.ids(distinct), strict=True))
        responses = self._tokenizer.ids([pair.response for pair in pairs])
        return [
            self._window(prompts[pair.prompt], ids)
            for pair, ids in zip(pairs, responses, strict=True)
        ]

    def _window(self, prompt: list[int], response: list[int]) -> PairWindow:
        limit = self._truncation
        fixed = len(self._prefix) + len(self._separator) + len(self._suffix)
        kept = response[: limit.response_tokens - fixed]
        room = min(limit.prompt_tokens, limit.response_tokens - fixed - len(kept))
        head = prompt[-room:] if room > 0 else []
        is_prompt_cut = limit.prompt_tokens > 0 and len(head) < len(prompt)
        is_cut = len(kept) < len(response) or is_prompt_cut
        first, second = [*self._prefix, *head, *self._separator], [*kept, *self._suffix]
        types = [*[0] * len(first), *[1] * len(second)] if self._has_types else None
        return PairWindow([*first, *second], is_cut, types)


def _tells_types(folder: Path) -> bool:
    """Whether the model's authors show it which text an id is of."""
    from transformers import AutoTokenizer

    opened = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    return "token_type_ids" in opened.model_input_names


def open_windows(
    folder: Path, template: Template, truncation: Truncation, *, separator: str
) -> WindowTokenizer:
    """What turns pairs into windows, with the tokenizer in `folder`; arguments as in manifests.

    Raises:
        ArtifactError: the folder has no tokenizer that can be read, or no chat template.
    """
    if template == "chat":
        from shared.ml.chat import ChatTokenizer

        return ChatTokenizer(folder, truncation)
    return PairTokenizer(folder, truncation, separator=separator)
