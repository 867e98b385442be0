"""Token ids and the windows that decide what a model reads.

Special tokens are the model's own marks: where a text begins, where the response does. What people
wrote never becomes one, whatever it spells: `[SEP]` in a text is read as five characters.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Encoding, Tokenizer

from shared.errors import ArtifactError

_TEXTS_AT_ONCE = 256  # what `tokenizers` keeps of a token is a hundred times its id
_IN_NO_VOCABULARY = "\U000f1234"  # for private use


@dataclass(frozen=True)
class Window:
    """The token ids a model reads of one text, and whether some were cut off."""

    ids: list[int]
    truncated: bool


@dataclass(frozen=True)
class PairLayout:
    """The special tokens around two texts, as the tokenizer itself puts them.

    Attributes:
        has_types: whether it numbers the ids of the first text and its marks 0, of the second 1.
    """

    prefix: list[int]
    middle: list[int]
    suffix: list[int]
    has_types: bool


class TextTokenizer:
    """A folder's `tokenizer.json`, without its own padding or truncation."""

    def __init__(self, folder: Path) -> None:
        """Open the tokenizer of a model folder.

        Raises:
            ArtifactError: there is no `tokenizer.json`, or it cannot be read.
        """
        self._tokenizer = _open_tokenizer(folder / "tokenizer.json")
        self._control = control_ids(self._tokenizer)
        self.prefix, self.suffix = self._special_ids()
        self._tokenizer.encode_special_tokens = True  # that is, as the texts they are

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without special tokens and without a limit."""
        found: list[list[int]] = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            some = list(texts[start : start + _TEXTS_AT_ONCE])
            encoded = self._tokenizer.encode_batch(some, add_special_tokens=False)
            found += [self._plain(text, item) for text, item in zip(some, encoded, strict=True)]
        return found

    def pair_layout(self) -> PairLayout:
        """What the tokenizer puts before, between and after two texts.

        Where it puts nothing between them, a blank line does.
        """
        one, other = self.ids(["a"])[0], self.ids(["b"])[0]
        encoded = self._tokenizer.encode("a", "b", add_special_tokens=True)
        ids = encoded.ids
        first = _place(one, ids, 0)
        second = _place(other, ids, first + len(one))
        middle = ids[first + len(one) : second] or self.ids(["\n\n"])[0]
        types = encoded.type_ids
        return PairLayout(
            prefix=ids[:first],
            middle=middle,
            suffix=ids[second + len(other) :],
            has_types=types == [*[0] * second, *[1] * (len(ids) - second)],
        )

    def token_id(self, token: str) -> int | None:
        """The id of one token of the vocabulary, or None."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found

    def head_window(self, ids: Sequence[int], max_tokens: int) -> Window:
        """The first `max_tokens` with special tokens around them: the end is cut off."""
        room = max_tokens - len(self.prefix) - len(self.suffix)
        return Window([*self.prefix, *ids[:room], *self.suffix], len(ids) > room)

    def tail_window(self, ids: Sequence[int], max_tokens: int) -> Window:
        """The last `max_tokens` with special tokens around them: the beginning is cut off."""
        room = max_tokens - len(self.prefix) - len(self.suffix)
        kept = ids[-room:] if room > 0 else []
        return Window([*self.prefix, *kept, *self.suffix], len(ids) > room)

    def _plain(self, text: str, encoded: Encoding) -> list[int]:
        """The ids of a text, where one that is a mark gives way to those of its characters.

        Vocabularies that list their special tokens as words find them by any other road too.
        """
        ids: list[int] = encoded.ids
        if self._control.isdisjoint(ids):
            return ids
        found: list[int] = []
        for at, (start, end) in zip(ids, encoded.offsets, strict=True):
            found += self._spelled(text[start:end]) if at in self._control else [at]
        return found

    def _spelled(self, text: str) -> list[int]:
        letters = (self._tokenizer.encode(letter, add_special_tokens=False).ids for letter in text)
        return [at for ids in letters for at in ids if at not in self._control]

    def _special_ids(self) -> tuple[list[int], list[int]]:
        plain = self._tokenizer.encode("a", add_special_tokens=False).ids
        full = self._tokenizer.encode("a", add_special_tokens=True).ids
        start = _place(plain, full, 0)
        return full[:start], full[start + len(plain) :]


def control_ids(tokenizer: Tokenizer, more: Iterable[str] = ()) -> frozenset[int]:
    """The ids that no text may yield: special tokens but that of unknown words, and `more`."""
    unknown, named = _unknown_ids(tokenizer), set(more)
    return frozenset(
        at
        for at, token in tokenizer.get_added_tokens_decoder().items()
        if (token.special or token.content in named) and at not in unknown
    )


def _unknown_ids(tokenizer: Tokenizer) -> set[int]:
    """What the vocabulary makes of a character that is in none; nothing where it has no such id."""
    try:
        return {token.id for token in tokenizer.model.tokenize(_IN_NO_VOCABULARY)}
    except Exception:  # noqa: BLE001 - tokenizers raises bare Exception
        return set()


def _open_tokenizer(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - tokenizers raises bare Exception
        raise ArtifactError(
            f"{path} is missing or unreadable ({type(error).__name__}); "
            "save the model with a fast tokenizer."
        ) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _place(part: Sequence[int], ids: Sequence[int], start: int) -> int:
    """Where a part begins in `ids`, from `start` on; their end where it does not."""
    size = len(part)
    return next(
        (at for at in range(start, len(ids)) if list(ids[at : at + size]) == list(part)), len(ids)
    )
