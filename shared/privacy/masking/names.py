"""Names of people: by title, by what stands before or after, by list, and again where they recur.

One walk over the words with look-ups in sets, so the time is linear in the text's length.
"""

import re
from collections.abc import Iterable, Iterator

from shared.privacy.masking.entities import Entity, Span
from shared.privacy.masking.lexicon import words
from shared.privacy.masking.name_walk import (
    ANY_GIVEN,
    EPONYM_NOUNS,
    GIVEN,
    NOT_NAMES,
    OTHER,
    PARTICLES,
    SURNAMES,
    WORD,
    Walk,
)

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

LISTED = GIVEN | SURNAMES
NOTES = words("notes")
DIRECTING = words("directing")
DESCRIBING = words("describing")
CALLED = frozenset({"called", "named", "nicknamed", "aka", "alias"})
SPEAKING = frozenset({"spoke", "speak", "speaks", "talked", "talk", "met", "meet", "discussed"})
OWN_CUES = frozenset({"is", "was", "me", "name", "it", "its"})
OWN_PHRASES = frozenset(
    {"name is", "name was", "call me", "hi its", "hey its", "hello its", "hi it", "hey it"}
)
MIN_RECURRING = 3
STORMS = words("storms_and_places")
COLON = re.compile(r"\s{0,3}(?:\(s\))?\s{0,2}[:=]\s{0,4}$|\s{1,2}[-–—]\s{1,2}$|\s{0,2}\|\s{0,2}$")
LOOSE = re.compile(r"[\s,:(\"'“‘]{1,3}$")
SIGN_OFF = re.compile(r"[,!.]?\s{0,3}\n\s{0,20}(?:[-–—]\s{0,2})?$|,\s{1,2}$")
AGE_BEHIND = re.compile(
    r",?\s?\(?(?:an?\s|aged?\s)?\d{1,3}[\s-]{0,2}(?:years?|yrs?|yo\b|y/o|y\.o)"
    r"|\s?[-–|;,]?\s?\(?(?:DOB|D\.O\.B|MRN|NHS|born\b|b\.)",
    re.IGNORECASE,
)
# After one large word alone this may be a measurement: `Sodium, 138, …`.
NUMBER_BEHIND = re.compile(r"(?:,\s?|\s?\()\d{1,3}(?:\s?[MF]\b|,\s|\)|\s(?:male|female))", re.I)
PASSIVE = re.compile(
    r"(?:was|is|has\sbeen|had\sbeen)\s(?:(?:then|also|first|again)\s)?(?:admitted|seen|born|discharged"
    r"|referred|diagnosed|treated|transferred|brought|started|reviewed|examined|allergic|pregnant"
    r"|an?\s\d)"
)
HOUSE_BEHIND = re.compile(r",\s(?:(?:Flat|Unit|Apt|Suite)\.?\s\d{1,4},?\s)?\d{1,5}[A-Za-z]?\s[A-Z]")
SENTENCE_END = re.compile(r"[.!?][)\"”’]?\s{1,3}|[,.!?]?[ \t]{0,3}\n\s{0,8}")
CITATION = re.compile(r"[’']?s?,?\s(?:et\sal|and\scolleagues|&)|,?\s?\(?(?:18|19|20)\d\d[a-z]?\)?")


class Names:
    """The names one text gives away by itself, and every mention of names known from it or before.

    `parts` are the words that count as a name wherever they stand, in small letters.
    """

    def __init__(self, text: str) -> None:
        self._walk = Walk(text)
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
            if is_mention and not walk.is_of_noun(place):
                yield _span(walk, place, 1)


def parts_of(name: str) -> frozenset[str]:
    """The words of a name that count as a name wherever they stand."""
    return _telling(found[0].lower() for found in WORD.finditer(name))


def _telling(words: Iterable[str]) -> frozenset[str]:
    long_ones = frozenset(word for word in words if len(word) >= MIN_RECURRING)
    return long_ones - NOT_NAMES - PARTICLES


def _span(walk: Walk, place: int, count: int) -> Span:
    last = walk.words[place + count - 1]
    end = last.end - 2 if last.is_genitive else last.end
    if walk.is_initial(place + count - 1):
        end += 1
    return Span(walk.words[place].start, end, Entity.NAME)


def _first_mentions(walk: Walk) -> Iterator[tuple[int, int]]:
    place = 0
    while place < len(walk.words):
        if count := _name_at(walk, place):
            yield place, count
        place += count or 1


def _name_at(walk: Walk, place: int) -> int:
    """How many words of a name start here; 0 for none."""
    if not walk.words[place].is_large:
        return _small_name(walk, place)
    if _is_announced(walk, place) and (count := walk.run(place, is_announced=True)):
        return count
    if walk.words[place].bare not in OTHER:
        count = walk.run(place, is_announced=True)
        if count and _is_reversed(walk, place, count):
            return count + walk.run(place + count, is_announced=True)
    count = walk.run(place, is_announced=False)
    return count if count and _is_name(walk, place, count) else 0


def _is_announced(walk: Walk, place: int) -> bool:
    """Whether what stands before says that a name comes."""
    if not place:
        return False
    before, gap = walk.lower(place - 1), walk.gap(place)
    if before in TITLES and gap in (" ", ". ", ".", "  "):
        return walk.lower(place) not in EPONYM_NOUNS
    if _is_labelled(walk, place, before, gap):
        return walk.lower(place) not in OTHER and not _is_talk(walk, place)
    if walk.lower(place) in NOT_NAMES or walk.is_eponym(place):
        return False
    return _is_related(walk, place, before, gap) or _is_met(walk, place, before, gap)


def _is_talk(walk: Walk, place: int) -> bool:
    """Whether a sentence begins here rather than a name: `Nurse: Sounds like a cold`."""
    if walk.is_of_noun(place):
        return True
    if walk.lower(place) in LISTED or place + 1 >= len(walk.words):
        return False
    following = walk.words[place + 1]
    is_prose = not following.is_large and following.bare not in PARTICLES | ACTS | {"here"}
    return is_prose and walk.gap(place + 1) == " "


def _is_labelled(walk: Walk, place: int, before: str, gap: str) -> bool:
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


def _is_related(walk: Walk, place: int, before: str, gap: str) -> bool:
    if before in RELATIVES:
        return bool(LOOSE.match(gap)) and len(gap) < 4 and "." not in gap
    if before == "is" and walk.lower(place - 2) in RELATIVES | {"patient"}:
        return _looks_like_name(walk, place)
    if before in CALLED:
        earlier = {walk.lower(place - back) for back in (2, 3, 4)}
        is_person = not earlier.isdisjoint(RELATIVES | PERSONS)
        return gap in (" ", ' "') and (is_person or _looks_like_name(walk, place))
    return before in PERSONS and gap in (" ", ", ", ' "', " (")


def _is_met(walk: Walk, place: int, before: str, gap: str) -> bool:
    if gap != " ":
        return False
    if before == "by" and walk.lower(place - 2) in BY_VERBS:
        return _looks_like_name(walk, place)
    if before in ("with", "to") and walk.lower(place - 2) in SPEAKING:
        return True
    is_met = before in WITH_VERBS or before in ("i'm", "am", "this")
    is_about = before in ("for", "to", "from", "of", "on") and walk.lower(place - 2) in NOTES
    is_sent = before == "to" and walk.lower(place - 2) in DIRECTING
    return (is_met or is_about or is_sent) and _looks_like_name(walk, place)


def _looks_like_name(walk: Walk, place: int) -> bool:
    """On a list, or two large words in a row that are no known words."""
    if walk.lower(place) in ANY_GIVEN | SURNAMES:
        return True
    return walk.run(place, is_announced=False) > 1


def _is_name(walk: Walk, place: int, count: int) -> bool:
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
    if AGE_BEHIND.match(behind) or (count > 1 and NUMBER_BEHIND.match(behind)):
        return True
    return (
        _acts(walk, place, count)
        or _signs(walk, place, count)
        or (count > 1 and _is_described(walk, place + count))
    )


def _is_described(walk: Walk, following: int) -> bool:
    """`…, her daughter`, `… (son)`, `…, who` behind two large words, or a house number."""
    if following >= len(walk.words):
        return False
    if HOUSE_BEHIND.match(walk.text, walk.words[following - 1].end):
        return True
    if walk.gap(following) not in (", ", " (", ",", " - ", " – "):
        return False
    owned = walk.lower(following) in ("his", "her", "my", "their", "our", "the", "a", "an")
    return walk.lower(following + owned) in DESCRIBING


def _signs(walk: Walk, place: int, count: int) -> bool:
    """Two or three large words that end the text after a full stop or on a line of their own."""
    is_last = place + count == len(walk.words) and 1 < count < 4
    return is_last and bool(place) and bool(SENTENCE_END.fullmatch(walk.gap(place)))


def _is_citation(walk: Walk, place: int, count: int) -> bool:
    last = walk.words[place + count - 1]
    return bool(CITATION.match(walk.text, last.end)) and count < 3


def _acts(walk: Walk, place: int, count: int) -> bool:
    """Two unknown large words, then a verb of people; one, with a verb only people do."""
    following = place + count
    if following >= len(walk.words) or walk.gap(following) != " ":
        return False
    verb = walk.words[following].bare
    if count > 1:
        is_act = verb in ACTS or PASSIVE.match(walk.text, walk.words[following].start)
        return bool(is_act) and not any(w.text.isupper() for w in walk.words[place:following])
    return verb in STRONG_ACTS and not walk.words[place].text.isupper()


def _is_reversed(walk: Walk, place: int, count: int) -> bool:
    """`OKONKWO, Zebulon` and `Garcia, Luis`."""
    after = place + count
    if after >= len(walk.words) or walk.gap(after) != ", " or not walk.words[after].is_large:
        return False
    if walk.lower(after) in NOT_NAMES:
        return False
    last = walk.words[after - 1]
    is_shouted = last.text.isupper() and len(last.text) > 3 and not walk.words[after].text.isupper()
    is_listed = count == 1 and last.bare in SURNAMES and walk.lower(after) in ANY_GIVEN
    return is_shouted or is_listed or (count == 1 and walk.lower(after) in GIVEN)


def _may_be_small_name(walk: Walk, place: int) -> bool:
    here = walk.words[place].bare
    return here in LISTED or (place > 0 and walk.words[place - 1].bare in OWN_CUES)


def _small_name(walk: Walk, place: int) -> int:
    """Names that begin with a small letter: `van der Berg`, or all of it typed so."""
    before = walk.lower(place - 1)
    if before in TITLES and walk.words[place].bare in PARTICLES:
        return walk.run(place, is_announced=True)
    return _typed_small(walk, place) if _may_be_small_name(walk, place) else 0


def _typed_small(walk: Walk, place: int) -> int:
    """How many words are a name typed in small letters, behind the plainest cues only."""
    before = walk.lower(place - 1)
    two = f"{walk.lower(place - 2)} {before}"
    own = two in OWN_PHRASES or walk.words[place - 1].text.lower() == "name's"
    here = walk.lower(place)
    if not own and not (
        here in GIVEN and (before in TITLES | RELATIVES | GREETINGS | {"i'm", "am", "patient"})
    ):
        return 1 if here in SURNAMES and before in ("mr", "mrs", "ms", "dr", "miss") else 0
    if here in OTHER or walk.gap(place).strip(" :,.\"'"):
        return 0
    following = walk.lower(place + 1)
    is_plain = place + 1 < len(walk.words) and walk.gap(place + 1) == " "
    has_surname = following in SURNAMES - NOT_NAMES or (own and following not in NOT_NAMES)
    return 2 if is_plain and following and has_surname else 1
