"""The words of a text, and how many of them in a row can be one name."""

import re
from dataclasses import dataclass

from shared.privacy.masking.lexicon import words

GIVEN = words("given")
SURNAMES = words("surnames")
ANY_GIVEN = GIVEN | words("ambiguous_given")
PARTICLES = words("particles")
EPONYMS = words("eponyms") - GIVEN
EPONYM_NOUNS = words("eponym_nouns")
NOT_NAMES = words("not_names") | {"i'm"}
# Never part of a name; what is a word and a name may continue one that something else announced.
OTHER = NOT_NAMES - SURNAMES - ANY_GIVEN

WORD = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*")
GENITIVES = ("'s", "’s", "'S")
CONTRACTED = re.compile(r"['’](?:m|re|ll|ve|d|t)$")
CONTRACTION = "i'm"
EPONYM_GAPS = (" ", "-", "’ ", "' ")
MAX_WORDS = 5


@dataclass(slots=True)
class Word:
    """One word; `bare` is in small letters and without its genitive."""

    start: int
    end: int
    text: str
    bare: str
    is_large: bool

    @property
    def is_genitive(self) -> bool:
        return self.text.endswith(GENITIVES)


def _word(found: re.Match[str]) -> Word:
    text = found[0]
    bare = text.lower()
    if bare.endswith(GENITIVES):
        bare = bare[:-2]
    elif CONTRACTED.search(bare):
        bare = CONTRACTION
    return Word(found.start(), found.end(), text, bare, text[0].isupper())


class Walk:
    """The words of one text, and what is asked about them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = [_word(found) for found in WORD.finditer(text)]

    def gap(self, place: int) -> str:
        """What stands before a word, back to the word before it."""
        start = self.words[place - 1].end if place else 0
        return self.text[max(start, self.words[place].start - 12) : self.words[place].start]

    def lower(self, place: int) -> str:
        """A word in small letters without its genitive; empty outside the text."""
        if not 0 <= place < len(self.words):
            return ""
        return self.words[place].bare

    def is_initial(self, place: int) -> bool:
        word = self.words[place]
        return len(word.text) == 1 and word.is_large and self.text[word.end : word.end + 1] == "."

    def is_eponym(self, place: int) -> bool:
        """Whether a word names a disease, a test or a law: `Wilson's disease`."""
        return self.lower(place) in EPONYMS or self.is_of_noun(place)

    def is_of_noun(self, place: int) -> bool:
        """Whether a noun that makes eponyms follows."""
        return self.lower(place + 1) in EPONYM_NOUNS and self.gap(place + 1) in EPONYM_GAPS

    def run(self, place: int, *, is_announced: bool) -> int:
        """How many words from `place` on can be one name."""
        count = 0
        while count < MAX_WORDS and place + count < len(self.words):
            here = place + count
            if count and not self._continues(here):
                break
            if not self._fits(here, is_first=count == 0, is_announced=is_announced):
                break
            count += 1
            if self.words[here].is_genitive:
                break
        while count and self.words[place + count - 1].bare in PARTICLES - ANY_GIVEN - SURNAMES:
            count -= 1
        return count

    def _continues(self, place: int) -> bool:
        gap = self.gap(place)
        return gap in (" ", "  ") or (gap in (". ", ".") and self.is_initial(place - 1))

    def _fits(self, place: int, *, is_first: bool, is_announced: bool) -> bool:
        word = self.words[place]
        if not word.is_large:
            return word.bare in PARTICLES and self._leads_on(place)
        if is_first and not is_announced:
            return not self.is_eponym(place) and self._may_begin(place)
        if word.bare in OTHER:
            return self.is_initial(place)
        return is_announced or not self.is_of_noun(place)

    def _may_begin(self, place: int) -> bool:
        """No known word, unless it is a given name too and a surname follows: `April Jones`."""
        here = self.lower(place)
        if here not in NOT_NAMES:
            return True
        return here in ANY_GIVEN and self.lower(place + 1) in SURNAMES - NOT_NAMES

    def _leads_on(self, place: int) -> bool:
        """Whether a name in large letters follows within two words, as in `van der Berg`."""
        following = self.words[place + 1 : place + 3]
        return any(word.is_large and word.bare not in OTHER for word in following)
