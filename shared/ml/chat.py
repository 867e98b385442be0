"""What a chat model reads: a conversation in its own template, cut to the window."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from shared.contracts.manifest import Truncation
from shared.errors import ArtifactError, InvalidInput
from shared.ml.chat_template import ChatTemplate, TemplateRefusal
from shared.ml.scorer import Pair, Turn
from shared.ml.windows import PAIRS_AT_ONCE, PairWindow

_ROLES = frozenset({"system", "user", "assistant"})
_LEAST_ROOM = 8  # tokens for texts, beside the template's own

Turns = tuple[Turn, ...]
_Cuts = dict[str, tuple[str, bool]]  # by text: what of it is read, and whether some is missing


@dataclass(frozen=True)
class _Conversation:
    """Turns and a response of safe texts, and whether some of them was cut off."""

    turns: Turns
    response: str
    is_cut: bool


class ChatTokenizer:
    """Conversations as rows of ids; their beginning gives way before the response does.

    The template's own tokens always stay. The prompt is cut turn by turn from its beginning; when
    all of its text is gone only its last turn is left, and only then the response loses its end.
    """

    def __init__(self, folder: Path, truncation: Truncation) -> None:
        """Use the tokenizer and the chat template of a model folder.

        Raises:
            ArtifactError: there is no such tokenizer or template, or the window is too small.
        """
        self.template = ChatTemplate(folder)
        self._truncation = truncation
        least = len(self._read(_Conversation((Turn("user", ""),), "", is_cut=False))) + _LEAST_ROOM
        if truncation.response_tokens < least:
            raise ArtifactError(
                f"The model's chat template needs a window of at least {least} tokens, and this "
                f"one has {truncation.response_tokens}; allow more with --max-tokens."
            )

    def windows(self, pairs: Sequence[Pair]) -> list[PairWindow]:
        """Conversation and response in the chat template, cut to the window.

        Raises:
            InvalidInput: the template refuses one of the texts.
        """
        found: list[PairWindow] = []
        for start in range(0, len(pairs), PAIRS_AT_ONCE):
            found += self._some_windows(pairs[start : start + PAIRS_AT_ONCE])
        return found

    def _some_windows(self, pairs: Sequence[Pair]) -> list[PairWindow]:
        """Windows of few enough pairs to hold all their ids; a text of several is read once."""
        asked = [(self._turns(pair), pair.response) for pair in pairs]
        window = self._truncation
        said = self._cuts((turn.content for turns, _ in asked for turn in turns), self._end)
        responses = self._cuts((response for _, response in asked), self._start)
        told = [_told(turns, said, responses[response]) for turns, response in asked]
        ids = self.template.ids([self._rendered(one) for one in told])
        return [
            PairWindow(row, one.is_cut)
            if len(row) <= window.response_tokens
            else self._shortened(one, row)
            for one, row in zip(told, ids, strict=True)
        ]

    def _turns(self, pair: Pair) -> Turns:
        """The turns of a pair; what the template knows no turns for is one turn of the user.

        Other models read such a conversation as one text too, and a request that one model
        accepted is not refused by the next.
        """
        if self._truncation.prompt_tokens == 0:
            return (Turn("user", ""),)
        if all(turn.role in _ROLES for turn in pair.turns) and pair.turns:
            try:
                self.template.rendered([replace(turn, content="a") for turn in pair.turns], "a")
            except TemplateRefusal:
                return (Turn("user", pair.prompt),)
            return pair.turns
        return (Turn("user", pair.prompt),)

    def _cuts(self, texts: Iterable[str], cut: Callable[[str], str]) -> _Cuts:
        """Of each text a safe form, no longer than any window."""
        distinct = list(dict.fromkeys(texts))
        safe = self.template.safe(distinct)
        kept = [cut(text) for text in safe]
        return {
            text: (part, part != whole)
            for text, part, whole in zip(distinct, kept, safe, strict=True)
        }

    def _end(self, text: str) -> str:
        return self._without_start(text, most=self._truncation.prompt_tokens)

    def _start(self, text: str) -> str:
        return self._without_end(text, most=self._truncation.response_tokens)

    def _without_start(self, text: str, *, most: int) -> str:
        """The last `most` tokens of a text, or fewer where a character is several."""
        if most <= 0:
            return ""
        if len(text.encode()) < most:  # no token is less than a byte
            return text
        starts = self.template.starts(text)
        if len(starts) <= most:
            return text
        rest = starts[len(starts) - most :]
        return text[next((at for at in rest if at > 0), len(text)) :]

    def _without_end(self, text: str, *, most: int) -> str:
        """The first `most` tokens of a text."""
        if most <= 0:
            return ""
        if len(text.encode()) < most:
            return text
        starts = self.template.starts(text)
        return text if len(starts) <= most else text[: min(starts[most], len(text) - 1)]

    def _shortened(self, told: _Conversation, row: list[int]) -> PairWindow:
        """The same with so much less text that it fits; texts side by side may melt into tokens."""
        while (excess := len(row) - self._truncation.response_tokens) > 0:
            told = self._shorter(told, excess)
            row = self._read(told)
        return PairWindow(row, truncated=True)

    def _shorter(self, told: _Conversation, excess: int) -> _Conversation:
        """Fewer tokens of the first texts that there are, by about `excess`."""
        if any(turn.content for turn in told.turns):
            return replace(told, turns=tuple(self._shorter_turns(told.turns, excess)))
        if len(told.turns) > 1:
            return replace(told, turns=(Turn("user", ""),))
        count = len(self.template.starts(told.response))
        kept = self._without_end(told.response, most=max(count - excess, 0))
        return replace(told, response=kept)

    def _shorter_turns(self, turns: Turns, excess: int) -> Iterator[Turn]:
        """As many turns at once as it takes: one by one, long conversations would take hours."""
        for turn in turns:
            if excess > 0 and turn.content:
                count = len(self.template.starts(turn.content))
                rest = self._without_start(turn.content, most=max(count - excess, 0))
                excess -= count
                yield replace(turn, content=rest)
            else:
                yield turn

    def _read(self, told: _Conversation) -> list[int]:
        return self.template.ids([self._rendered(told)])[0]

    def _rendered(self, told: _Conversation) -> str:
        try:
            return self.template.rendered(told.turns, told.response)
        except TemplateRefusal:
            raise InvalidInput(
                "The model's chat template refuses this prompt with this response; ask its "
                "authors, or use another model."
            ) from None


def _told(turns: Turns, said: _Cuts, response: tuple[str, bool]) -> _Conversation:
    parts = [said[turn.content] for turn in turns]
    return _Conversation(
        tuple(replace(turn, content=part) for turn, (part, _) in zip(turns, parts, strict=True)),
        response[0],
        is_cut=response[1] or any(is_cut for _, is_cut in parts),
    )
