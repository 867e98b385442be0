"""Names of people: by title, by what stands before or after, by list, and again where they recur.

One walk over the words with look-ups in sets, so the time is linear in the text's length.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from shared.privacy.masking.entities import Entity, Span
from shared.privacy.masking.lexicon import words

GIVEN = words("given")
AMBIGUOUS_GIVEN = words("ambiguous_given")
SURNAMES = words("surnames")
TITLES = words("titles")
RELATIVES = words("relatives")
PERSONS = words("persons")
LABELS = words("labels")
BY_VERBS = words("by_verbs")
WITH_VERBS = words("with_verbs")
GREETINGS = words("greetings")
CLOSINGS = words("closings")
ACTS = words("acts")
STRONG_ACTS = words("strong_acts")
PARTICLES = words("particles")
EPONYMS = words("eponyms")
EPONYM_NOUNS = words("eponym_nouns")
NOT_NAMES = words("not_names")

WORD = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*")
ANY_GIVEN = GIVEN | AMBIGUOUS_GIVEN
# Never part of a name; what is a word and a name may continue one that something else announced.
OTHER = NOT_NAMES - SURNAMES - ANY_GIVEN
SOFT = NOT_NAMES | (
    AMBIGUOUS_GIVEN - {"charlotte", "joe", "tom", "jim", "bob", "tim", "andy", "nick"}
)
LISTED = GIVEN | SURNAMES
OWN_CUES = frozenset({"is", "was", "me", "name"})
MAX_WORDS = 5
MIN_RECURRING = 3
STORMS = words("storms_and_places")
COLON = re.compile(r"\s{0,3}(?:\(s\))?\s{0,2}[:=]\s{0,4}$|\s{1,2}[-–—]\s{1,2}$|\s{0,2}\|\s{0,2}$")
LOOSE = re.compile(r"[\s,:(\"'“‘]{1,3}$")
SIGN_OFF = re.compile(r"[,!.]?\s{0,3}\n\s{0,20}(?:[-–—]\s{0,2})?$|,\s{1,2}$")
AGE_BEHIND = re.compile(
    r",?\s?\(?(?:an?\s|aged?\s)?\d{1,3}(?:[\s-]{0,2}(?:years?|yrs?|yo\b|y/o|y\.o)|\s?[MF]\b|,\s|\)|\s(?:male|female))"
    r"|,?\s?\(?(?:DOB|D\.O\.B|MRN|NHS|born|b\.)",
    re.IGNORECASE,
)
CITATION = re.compile(r"[’']?s?,?\s(?:et\sal|and\scolleagues|&)|,?\s?\(?(?:18|19|20)\d\d[a-z]?\)?")


@dataclass(frozen=True, slots=True)
class Word:
    start: int
    end: int
    text: str
    lower: str
    bare: str  # in small letters, without its genitive

    @property
    def is_large(self) -> bool:
        return self.text[0].isupper()


def _word(start: int, end: int, text: str, lower: str) -> Word:
    bare = lower[:-2] if lower.endswith(("'s", "’s")) else lower
    return Word(start, end, text, lower, bare)


class _Walk:
    """The words of one text, and what is asked about them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = [
            _word(found.start(), found.end(), found[0], found[0].lower())
            for found in WORD.finditer(text)
        ]

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
        if self.lower(place + 1) in EPONYM_NOUNS and self.gap(place + 1) in (" ", "-", "’ ", "' "):
            return True
        return self.lower(place) in EPONYMS

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
            if self.words[here].lower.endswith(("'s", "’s")):
                break
        while count and self.words[place + count - 1].lower in PARTICLES - ANY_GIVEN - SURNAMES:
            count -= 1
        return count

    def _continues(self, place: int) -> bool:
        gap = self.gap(place)
        return gap in (" ", "  ") or (gap in (". ", ".") and self.is_initial(place - 1))

    def _fits(self, place: int, *, is_first: bool, is_announced: bool) -> bool:
        word = self.words[place]
        if not word.is_large:
            return word.lower in PARTICLES and self._leads_on(place)
        if self.lower(place) in (OTHER if is_announced or not is_first else SOFT):
            return self.is_initial(place) and not is_first
        return is_announced or not self.is_eponym(place)

    def _leads_on(self, place: int) -> bool:
        """Whether a name in large letters follows within two words, as in `van der Berg`."""
        following = self.words[place + 1 : place + 3]
        return any(word.is_large and word.lower not in OTHER for word in following)


class Names:
    """The names one text gives away by itself, and every mention of names known from it or before.

    `parts` are the words that count as a name wherever they stand, in small letters.
    """

    def __init__(self, text: str) -> None:
        self._walk = _Walk(text)
        self._found = list(_first_mentions(self._walk))
        taken = (place + offset for place, count in self._found for offset in range(count))
        self._taken = frozenset(taken)
        self.parts = _telling(self._walk.lower(place) for place in self._taken)

    @property
    def words(self) -> frozenset[str]:
        """The text's words in small letters, those joined by hyphens apart."""
        joined = " ".join(word.bare for word in self._walk.words)
        return frozenset(joined.replace("-", " ").split(" "))

    def spans(self, known: frozenset[str] = frozenset()) -> list[Span]:
        """Where names stand, mentions of the known ones included."""
        spans = [_span(self._walk, place, count) for place, count in self._found]
        parts = self.parts | known
        return [*spans, *self._recurring(parts)] if parts else spans

    def _recurring(self, parts: frozenset[str]) -> Iterator[Span]:
        walk = self._walk
        for place, word in enumerate(walk.words):
            is_mention = word.is_large and place not in self._taken and walk.lower(place) in parts
            if is_mention and not walk.is_eponym(place):
                yield _span(walk, place, 1)


def parts_of(name: str) -> frozenset[str]:
    """The words of a name that count as a name wherever they stand."""
    return _telling(found[0].lower() for found in WORD.finditer(name))


def _telling(words: Iterable[str]) -> frozenset[str]:
    long_ones = frozenset(word for word in words if len(word) >= MIN_RECURRING)
    return long_ones - NOT_NAMES - PARTICLES


def _span(walk: _Walk, place: int, count: int) -> Span:
    last = walk.words[place + count - 1]
    end = last.end - 2 if last.lower.endswith(("'s", "’s")) else last.end
    if walk.is_initial(place + count - 1):
        end += 1
    return Span(walk.words[place].start, end, Entity.NAME)


def _first_mentions(walk: _Walk) -> Iterator[tuple[int, int]]:
    place = 0
    while place < len(walk.words):
        count = _name_at(walk, place)
        if count:
            yield place, count
        place += count or 1


def _name_at(walk: _Walk, place: int) -> int:
    """How many words of a name start here; 0 for none."""
    if not walk.words[place].is_large:
        return _small_name(walk, place) if _may_be_small_name(walk, place) else 0
    if _is_announced(walk, place) and (count := walk.run(place, is_announced=True)):
        return count
    count = walk.run(place, is_announced=False)
    if not count or not _is_name(walk, place, count):
        return 0
    return count


def _is_announced(walk: _Walk, place: int) -> bool:
    """Whether what stands before says that a name comes."""
    if not place:
        return False
    before, gap = walk.lower(place - 1), walk.gap(place)
    if before in TITLES and gap in (" ", ". ", ".", "  "):
        return walk.lower(place) not in EPONYM_NOUNS
    if walk.lower(place) in NOT_NAMES or walk.is_eponym(place):
        return False
    return (
        _is_labelled(walk, place, before, gap)
        or _is_related(walk, place, before, gap)
        or _is_met(walk, place, before, gap)
    )


def _is_labelled(walk: _Walk, place: int, before: str, gap: str) -> bool:
    if before in LABELS and COLON.search(gap):
        return True
    if before in GREETINGS and gap in (" ", ", "):
        return True
    if before in CLOSINGS and SIGN_OFF.search(gap):
        return True
    two = f"{walk.lower(place - 2)} {before}"
    return two in ("name is", "name was", "call me", "known as", "to as") or before in (
        "name's",
        "née",
        "aka",
    )


def _is_related(walk: _Walk, place: int, before: str, gap: str) -> bool:
    if before in RELATIVES:
        return bool(LOOSE.match(gap)) and len(gap) < 4 and "." not in gap
    if before == "is" and walk.lower(place - 2) in RELATIVES | {"patient"}:
        return _looks_like_name(walk, place)
    if before in PERSONS and gap in (" ", ", ", ' "', " ("):
        return walk.words[place - 1].lower not in ("called", "named") or gap == " "
    return False


def _is_met(walk: _Walk, place: int, before: str, gap: str) -> bool:
    if gap != " ":
        return False
    if before == "by" and walk.lower(place - 2) in BY_VERBS:
        return True
    if before in ("with", "to") and walk.lower(place - 2) in WITH_VERBS | {"call", "calls"}:
        return True
    if before in WITH_VERBS:
        return _looks_like_name(walk, place)
    return before in ("i'm", "am", "this") and _looks_like_name(walk, place)


def _looks_like_name(walk: _Walk, place: int) -> bool:
    """On a list, or two large words in a row that are no known words."""
    if walk.lower(place) in ANY_GIVEN | SURNAMES:
        return True
    return walk.run(place, is_announced=False) > 1


def _is_name(walk: _Walk, place: int, count: int) -> bool:
    """Whether large words that nothing announces are a name: by list, by age, by what they do."""
    if walk.lower(place - 1) in STORMS or _is_citation(walk, place, count):
        return False
    names = [walk.lower(place + offset) for offset in range(count)]
    last = walk.words[place + count - 1]
    behind = walk.text[last.end : last.end + 40]
    if walk.lower(place + count) in EPONYM_NOUNS and walk.gap(place + count) == " ":
        return names[0] in GIVEN and count > 1
    if names[0] in GIVEN:
        return True
    if count > 1 and (set(names[1:]) & SURNAMES or names[0] in ANY_GIVEN):
        return True
    if walk.is_initial(place):
        return False
    if AGE_BEHIND.match(behind) and not CITATION.match(behind):
        return count > 1 or "(" not in behind[:3]
    return _acts(walk, place, count) or _is_reversed(walk, place, count)


def _is_citation(walk: _Walk, place: int, count: int) -> bool:
    last = walk.words[place + count - 1]
    return bool(CITATION.match(walk.text, last.end)) and count < 3


def _acts(walk: _Walk, place: int, count: int) -> bool:
    """Two unknown large words, then a verb of people; one, with a verb only people do."""
    following = place + count
    if following >= len(walk.words) or walk.gap(following) != " ":
        return False
    verb = walk.words[following].lower
    if count > 1:
        return verb in ACTS and not any(w.text.isupper() for w in walk.words[place:following])
    return verb in STRONG_ACTS and not walk.words[place].text.isupper()


def _is_reversed(walk: _Walk, place: int, count: int) -> bool:
    """`OKONKWO, Zebulon` and `Garcia, Luis`."""
    after = place + count
    if after >= len(walk.words) or walk.gap(after) != ", " or not walk.words[after].is_large:
        return False
    if walk.lower(after) in NOT_NAMES:
        return False
    last = walk.words[after - 1]
    is_shouted = last.text.isupper() and len(last.text) > 3 and not walk.words[after].text.isupper()
    return (
        is_shouted
        or walk.lower(after) in GIVEN
        or (last.lower in SURNAMES and count == 1 and walk.lower(after) in ANY_GIVEN)
    )


def _may_be_small_name(walk: _Walk, place: int) -> bool:
    here = walk.words[place].bare
    return here in LISTED or (place > 0 and walk.words[place - 1].bare in OWN_CUES)


def _small_name(walk: _Walk, place: int) -> int:
    """Names typed in small letters, behind the plainest cues only."""
    before = walk.lower(place - 1)
    two = f"{walk.lower(place - 2)} {before}"
    own = two in ("name is", "name was", "call me") or walk.words[place - 1].lower == "name's"
    here = walk.lower(place)
    if not own and not (
        here in GIVEN and (before in TITLES | RELATIVES | GREETINGS | {"i'm", "am", "patient"})
    ):
        return 1 if here in SURNAMES and before in ("mr", "mrs", "ms", "dr", "miss") else 0
    if here in NOT_NAMES or walk.gap(place).strip(" :,.\"'"):
        return 0
    following = walk.lower(place + 1)
    is_plain = place + 1 < len(walk.words) and walk.gap(place + 1) == " "
    has_surname = following in SURNAMES - NOT_NAMES or (own and following not in NOT_NAMES)
    return 2 if is_plain and following and has_surname else 1
