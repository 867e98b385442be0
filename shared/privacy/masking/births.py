"""Dates of birth and ages over 89, which HIPAA's safe harbour counts as identifiers.

Other dates stay: without context a date in a question about rainfall looks like any other.
"""

import re
from collections.abc import Iterable, Iterator

from shared.privacy.masking.entities import Entity, Span
from shared.privacy.masking.lexicon import words

MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?"
    r"|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\.?"
)
DAY = r"[0-3]?\d(?:st|nd|rd|th)?"
CENTURY = r"(?:18|19|20)\d\d"
DATE = (
    rf"(?:{CENTURY}\s?[-/.]\s?[01]?\d\s?[-/.]\s?[0-3]?\d"
    rf"|[0-3]?\d\s?[-/.]\s?[0-3]?\d\s?[-/.]\s?(?:{CENTURY}|\d\d)"
    rf"|{DAY}[\s\-/.](?:of\s)?{MONTH},?[\s\-/.](?:{CENTURY}|'?\d\d)"
    rf"|{MONTH}[\s\-]{DAY},?[\s\-](?:{CENTURY}|'\d\d)|{MONTH}\s{CENTURY}"
    rf"|{DAY}\s(?:of\s)?{MONTH}|{MONTH}\s{DAY}"
    rf"|{CENTURY}[01]\d[0-3]\d|[0-3]\d[01]\d{CENTURY})(?!\d)"
)
WORDS = r"(?:DOB|D\.\s?O\.\s?B\.?|date[\s_-]of[\s_-]birth|birth[\s_-]?da(?:te|y)s?)"
FILLERS = "is|was|of|on|as|the|falls|given|recorded|listed|confirmed|for|to|be|in|it|s"
BEFORE = re.compile(
    rf"\b{WORDS}(?![A-Za-z])[^\w\n]{{0,4}}\n?"
    rf"(?:(?:{FILLERS})\b[^\w\n]{{0,3}}){{0,4}}(?P<date>{DATE})",
    re.IGNORECASE,
)
BORN = re.compile(
    rf"\b(?:{WORDS}[^.;\n\d]{{0,30}}?[\s(:,]|"
    r"born\b[^.\n\d]{0,40}?[\s(:,]|\(?b\.\s{0,2}|n[ée]e?[^.\n\d]{0,20} on )"
    rf"(?P<date>{DATE})",
    re.IGNORECASE,
)
AFTER = re.compile(
    rf"(?<![\w/.-])(?P<date>{DATE})\s?[(,\-]?\s?(?:(?:as|is|was|being)\s)?"
    rf"(?:(?:my|his|her|their|the|your|patient's)\s)?{WORDS}(?!\w)",
    re.IGNORECASE,
)
HINTS = words("birth_cues")
FULL_DATE = re.compile(
    rf"[,;|]?\s?[(\[–-]?\s?(?:b\.?\s?)?(?P<date>(?:{DATE}))(?=\s?[)\],;]|\s?$)", re.I | re.M
)
YEAR = re.compile(r"(?:18|19|20)\d\d|(?:\d[-/.]\d{1,2}|[a-z])[-/.]\d\d")

OLD = r"(?P<age>9\d|1[01]\d|12[0-4])"
MAY_BE_OLD = re.compile(r"(?:9\d|1[0-2]\d)(?!\d)")
AGES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?<![\w.,%-]){OLD}[\s-]{{0,2}}(?:years?|yrs?|yr|y)[\s-]{{0,2}}(?:old|o|of\sage)\b",
        rf"(?<![\w.,%-]){OLD}\s?(?:y/?o|yo|y\.o\.?|yrs?)(?!\w)",
        rf"\b(?:aged?|patient\sage)\b\s?(?:of|is|was|at|[:=])?\s{{0,2}}{OLD}(?![\d.,]\d|\d|%)",
        rf"\b(?:turn(?:s|ed|ing)|(?:is|am|was|being)(?:\snow|\salready)?)\s{OLD}"
        r"(?=\s(?:years?|and\s(?:lives?|frail|still)|now|this|last|next)|[.,;]?\s(?:she|he|and)\s)",
        rf"(?<=\(){OLD}\s?[MF]\b",
        rf"(?<=,\s){OLD}(?=[\s-]?[MF]\b"
        r"|,\s(?:was|is|who|from|of|admitted|presented|male|female|lives|a\s))",
    )
)
DIGITS = "(?:one|two|three|four|five|six|seven|eight|nine|ten)"
SPELT = re.compile(
    rf"\b(?:ninety|(?:one\s)?hundred(?:\sand)?)(?:[\s-]{DIGITS})?[\s-]years?[\s-]old\b",
    re.IGNORECASE,
)
# What else is called so-and-so many years old.
OTHER_OLD = re.compile(
    r"[\s-]{1,2}(?:trees?|forests?|buildings?|houses?|records?|ice|bridges?|pines?|oaks?|data"
    r"|stations?|time|dams?|pipelines?|stands?|system|law|theory|institution|company|wine"
    r"|hypothes[ie]s|problem|average)\b",
    re.IGNORECASE,
)


def find_births(text: str, spoken: frozenset[str]) -> Iterator[Span]:
    """Dates that the words around them say to be of birth; `spoken` are the text's words."""
    if spoken.isdisjoint(HINTS):
        return
    for pattern in (BEFORE, BORN, AFTER):
        for found in pattern.finditer(text):
            yield Span(*found.span("date"), Entity.DATE_OF_BIRTH)


def find_births_behind(text: str, names: Iterable[Span]) -> Iterator[Span]:
    """Full dates that stand right behind a name, as in `Jane Roe (03/02/1961)`."""
    for name in names:
        found = FULL_DATE.match(text, name.end)
        if found and YEAR.search(found["date"]):
            yield Span(*found.span("date"), Entity.DATE_OF_BIRTH)


def find_ages(text: str, spoken: frozenset[str]) -> Iterator[Span]:
    """Ages of 90 and more: the number alone, so that the sentence stays whole."""
    if MAY_BE_OLD.search(text):
        for pattern in AGES:
            for found in pattern.finditer(text):
                if not OTHER_OLD.match(text, found.end()):
                    yield Span(*found.span("age"), Entity.AGE)
    if "ninety" in spoken or "hundred" in spoken:
        for found in SPELT.finditer(text):
            if not OTHER_OLD.match(text, found.end()):
                yield Span(*found.span(), Entity.AGE)
