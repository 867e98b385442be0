"""The masker: every recogniser over one text, in time linear in its length."""

import re
from collections.abc import Callable, Iterable

from shared.privacy.masking.addresses import find_addresses
from shared.privacy.masking.births import find_ages, find_births, find_births_behind
from shared.privacy.masking.contacts import find_contacts
from shared.privacy.masking.entities import Masked, Span, replace_spans
from shared.privacy.masking.folding import fold
from shared.privacy.masking.identity_numbers import find_numbers
from shared.privacy.masking.names import Names, parts_of
from shared.privacy.masking.phones import find_phones
from shared.privacy.masking.records import find_records

Recogniser = Callable[[str, frozenset[str]], Iterable[Span]]

DIGIT = re.compile(r"\d")
WITH_DIGITS: tuple[Recogniser, ...] = (
    find_records,
    find_numbers,
    find_births,
    find_addresses,
    find_phones,
)


class Masker:
    """Replaces identifiers by placeholders such as `[PHONE]`."""

    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()
        self._names: dict[str, Names] = {}

    def knowing(self, texts: Iterable[str], names: Iterable[str] = ()) -> "Masker":
        """A masker for texts that belong together: a name that one gives away counts in all.

        `names` are known to be names, whatever stands around them.
        """
        masker = Masker()
        masker._names = {text: Names(text) for text in (fold(text).text for text in texts)}
        told = (found.parts for found in masker._names.values())
        known = (parts_of(fold(name).text) for name in names)
        masker._known = frozenset().union(*told, *known)
        return masker

    def find(self, text: str) -> list[Span]:
        """Every entity found, in no order; spans may overlap."""
        read = fold(text)
        return [read.unfold(span) for span in self._found_in(read.text)]

    def _found_in(self, text: str) -> list[Span]:
        spans = list(find_contacts(text))
        named = self._names.get(text) or Names(text)
        spans += (names := named.spans(self._known))
        spoken = named.words
        spans += find_ages(text, spoken)
        if DIGIT.search(text):
            for recogniser in WITH_DIGITS:
                spans += recogniser(text, spoken)
            spans += find_births_behind(text, names)
        return spans

    def mask(self, text: str) -> Masked:
        """The text with every entity replaced, and where."""
        return replace_spans(text, self.find(text)) if text else Masked(text)
