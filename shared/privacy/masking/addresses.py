"""Postal addresses: a house number and a street, with what follows them, and postcodes."""

import re
from collections.abc import Iterator

from shared.privacy.masking.entities import Entity, Span
from shared.privacy.masking.lexicon import words

KINDS = words("streets")
CONTINENTAL_KINDS = words("continental_streets")
DWELLING = words("dwelling_cues")
ZIPS = frozenset({"zip", "zipcode", "post", "postcode", "postal"})

WORD = r"(?:[A-Z][\w'’.\-]{0,24}|\d{1,3}(?:st|nd|rd|th)|of|the|de|la|el|du)"
KIND = rf"(?:{'|'.join(sorted((kind.title() for kind in KINDS), reverse=True))})"
LOWER_KIND = (
    r"(?:street|avenue|ave|road|rd|boulevard|blvd|lane|drive|court|crescent|terrace)"
    r"\b(?:,? (?:apt|apartment|unit|flat|suite|#) ?#?\w{1,6}\b)?"
)
STATE = (
    r"(?:A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI"
    r"|S[CD]|T[NX]|UT|V[AT]|W[AIVY]|NSW|VIC|QLD|TAS|ACT|ON|QC|BC|AB|MB|SK|NS|NB"
    r"|[A-Z][a-z]{3,12}(?: [A-Z][a-z]{3,12})?)"
)
POSTCODE = (
    r"(?:(?:[A-Z]{1,2}\d[A-Z\d]?|GIR) ?\d[A-Z]{2}|[A-Z]\d[A-Z] ?\d[A-Z]\d|\d{5}(?:-\d{4})?|\d{4})"
)
INNER = (
    r"(?:Apartment|Apt|Suite|Ste|Unit|Flat|Floor|Fl|Room|Rm|Building|Bldg|Block|#)\.? ?#?[\w-]{1,6}"
)
HOUSE = r"(?<![\w.,:/-])\d{1,5}[A-Za-z]?(?:-\d{1,5})?(?:/\d{1,4})?"
TOWN_WORD = r"[A-Z](?:[^\W\d_]|['’.\-]){1,24}(?!\w)"
TOWN = rf"(?:{TOWN_WORD}(?:[ -](?:{TOWN_WORD}|upon|on|under|in|le|la|by|and)){{0,3}})"
POINT = r"(?: (?:N|S|E|W|NE|NW|SE|SW|North|South|East|West)\b\.?)?"
TAIL = (
    rf"(?:,? {INNER}(?!\w))?(?:(?:,\s{{0,2}}|\n){TOWN}){{0,3}}"
    rf"(?:(?:,\s{{0,2}}| ){STATE}(?=,? \d))?(?:,?\s{{1,2}}{POSTCODE}(?!\w))?"
)
STREET = re.compile(
    rf"(?:{INNER},? )?{HOUSE},? (?:{WORD} ){{1,4}}?{KIND}\b(?! {KIND}\b)(?:\.(?=[ ,]))?"
    rf"{POINT}{TAIL}"
)
LOWER_STREET = re.compile(
    rf"(?<![\w.,:/-])\d{{1,5}}[a-z]? (?:[a-z'\-]{{2,20}} ){{1,3}}?{LOWER_KIND}"
)
LIVES = re.compile(
    r"\b(?i:liv(?:es?|ing) (?:at|in|on)|resid(?:ing|es) (?:at|on)|resident (?:of|at)"
    r"|address(?:es)?(?: is| was|:| on file(?: is|:)?)|home(?::| is(?: at)?)"
    r"|deliver(?:ed)? to|mail(?:ed)? (?:it )?to|moved to)\s{1,2}"
    rf"(?P<value>(?:{INNER},? )?\d{{1,5}}[A-Za-z]?,? {WORD}(?: {WORD}){{0,4}}{TAIL})"
)
BOX = re.compile(rf"(?<!\w)(?i:P\.? ?O\.? ?Box|post office box) ?#?\d{{1,6}}{TAIL}")
CONTINENTAL = re.compile(
    r"(?<!\w)[A-ZÄÖÜ][\w'’.\-]{1,24}(?:straße|strasse|str\.|weg|platz|gasse|allee|laan|straat|gatan)"
    r"\s\d{1,4}[a-z]?(?!\w)(?:,?\s\d{4,5}\s[A-ZÄÖÜ][\w\-]{1,24})?"
    r"|(?<!\w)\d{1,4}(?:,| bis)? (?:rue|avenue|boulevard|place|via|calle|rua) "
    r"(?:[\w'’\-]{1,20} ?){1,5}(?:, ?\d{4,5} [A-Z][\w\-]{1,24})?",
)
UK_POSTCODE = re.compile(r"(?<!\w)[A-Z]{1,2}\d[A-Z\d]? \d[ABD-HJLNP-UW-Z]{2}(?!\w)")
ZIP = re.compile(
    r"\b(?:zip(?: ?code)?|post ?code|postal code)\b[^\w\n]{0,3}(?:(?:is|was|of)\s)?"
    r"(?P<value>\d{4,5}(?:-\d{4})?|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2})(?!\w)",
    re.IGNORECASE,
)
STATE_ZIP = re.compile(r", [A-Z]{2} \d{5}(?:-\d{4})?(?!\w)")
CITY = re.compile(rf"(?<!\w){TOWN}$")


def find_addresses(text: str, spoken: frozenset[str]) -> Iterator[Span]:
    """Streets with a house number, boxes, postcodes; `spoken` are the text's words."""
    if not spoken.isdisjoint(KINDS):
        yield from _whole(text, STREET, LOWER_STREET)
    if "box" in spoken:
        yield from _whole(text, BOX)
    if not spoken.isdisjoint(CONTINENTAL_KINDS) or any(_is_compound(word) for word in spoken):
        yield from _whole(text, CONTINENTAL)
    if not spoken.isdisjoint(DWELLING):
        yield from _values(text, LIVES)
    if not spoken.isdisjoint(ZIPS):
        yield from _values(text, ZIP)
    yield from _whole(text, UK_POSTCODE)
    for found in STATE_ZIP.finditer(text):
        town = CITY.search(text, max(0, found.start() - 40), found.start())
        yield Span(town.start() if town else found.start(), found.end(), Entity.ADDRESS)


def _is_compound(word: str) -> bool:
    """Whether a word ends like a street: `Hauptstraße`."""
    return word.endswith(("straße", "strasse", "str", "weg", "platz", "gasse", "allee", "straat"))


def _whole(text: str, *patterns: re.Pattern[str]) -> Iterator[Span]:
    for pattern in patterns:
        yield from (Span(*found.span(), Entity.ADDRESS) for found in pattern.finditer(text))


def _values(text: str, pattern: re.Pattern[str]) -> Iterator[Span]:
    yield from (Span(*found.span("value"), Entity.ADDRESS) for found in pattern.finditer(text))
