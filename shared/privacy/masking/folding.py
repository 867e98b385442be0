"""Reads text as people see it: other digits and spaces are ordinary ones, what is not seen is gone.

Word processors write no-break spaces and hyphens, soft hyphens and composed accents; recognisers
know none of these, and a number that is only drawn differently is still the number.
"""

import re
import unicodedata
from dataclasses import dataclass

from shared.privacy.masking.entities import Span

SAME = frozenset({"<wide>", "<narrow>", "<font>", "<noBreak>"})
HYPHENS = frozenset("\u2010\u2011\u2012\u2212\ufe63\uff0d")
REMEMBERED = 0x10000
UNSEEN = frozenset({"Cf", "Mn"})
BETWEEN_DIGITS = re.compile(r"(?<=\d)[\u2013\u2014](?=\d)")


@dataclass(frozen=True, slots=True)
class Folded:
    """A text as recognisers read it; `places` are the offsets in the original, and its end."""

    text: str
    places: list[int] | None = None

    def unfold(self, span: Span) -> Span:
        """The span in the original, with what is not seen behind it."""
        if self.places is None:
            return span
        return Span(self.places[span.start], self.places[span.end], span.kind)


def fold(text: str) -> Folded:
    """The text as it is read; ASCII stays as it is."""
    if text.isascii():
        return Folded(text)
    seen = BETWEEN_DIGITS.sub("-", text.translate(_SEEN))
    if len(seen) == len(text):
        return Folded(seen)
    places = [place for place, char in enumerate(text) if _SEEN[ord(char)] is not None]
    return Folded(seen, [*places, len(text)])


class _Seen(dict[int, int | None]):
    """What each code point is read as, None for what is not seen; the usual ones are remembered."""

    def __missing__(self, code: int) -> int | None:
        seen = _seen(chr(code))
        if code < REMEMBERED:
            self[code] = seen
        return seen


_SEEN = _Seen()


def _seen(char: str) -> int | None:
    category = unicodedata.category(char)
    if category in UNSEEN:
        return None
    if category == "Nd":
        return ord(str(unicodedata.decimal(char)))
    if category == "Zs":
        return ord(" ")
    plain = char
    if unicodedata.decomposition(char).partition(" ")[0] in SAME:
        plain = unicodedata.normalize("NFKC", char)
    if plain in HYPHENS:
        return ord("-")
    return ord(plain) if len(plain) == 1 else ord(char)
