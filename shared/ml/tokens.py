"""Token ids and the windows that decide what a model reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from shared.errors import ArtifactError

_TEXTS_AT_ONCE = 256  # what `tokenizers` keeps of a token is a hundred times its id


@dataclass(frozen=True)
class Window:
    """The token ids a model reads of one text, and whether some were cut off."""

    ids: list[int]
    truncated: bool


class TextTokenizer:
    """A folder's `tokenizer.json`, without its own padding or truncation."""

    def __init__(self, folder: Path) -> None:
        """Open the tokenizer of a model folder.

        Raises:
            ArtifactError: there is no `tokenizer.json`, or it cannot be read.
        """
        path = folder / "tokenizer.json"
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # noqa: BLE001 - tokenizers raises bare Exception
            raise ArtifactError(
                f"{path} is missing or unreadable ({type(error).__name__}); "
                "save the model with a fast tokenizer."
            ) from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.prefix, self.suffix = self._special_ids()

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without special tokens and without a limit."""
        found: list[list[int]] = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            some = list(texts[start : start + _TEXTS_AT_ONCE])
            encoded = self._tokenizer.encode_batch(some, add_special_tokens=False)
            found += [item.ids for item in encoded]
        return found

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

    def _special_ids(self) -> tuple[list[int], list[int]]:
        plain = self._tokenizer.encode("a", add_special_tokens=False).ids
        full = self._tokenizer.encode("a", add_special_tokens=True).ids
        start = next(
            (at for at in range(len(full)) if full[at : at + len(plain)] == plain), len(full)
        )
        return full[:start], full[start + len(plain) :]
