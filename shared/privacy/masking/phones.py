"""Telephone numbers: written in a form only telephones have, or called one by the words before."""

import re
from collections.abc import Callable, Iterator

import phonenumbers

from shared.privacy.masking.entities import Entity, Span
from shared.privacy.masking.lexicon import words

REGIONS = ("US", "GB", "IE", "AU", "NZ", "IN", "ZA", "DE", "FR", "ES", "IT", "NL", "CH")
BODY = r"(?:[\s().\-/\u2010-\u2013\u00a0]{0,3}\d){%s}"
EXTENSION = r"(?:\s{0,2},?(?:ext\.?|extension|x)\s{0,2}\d{1,6})?"
INTERNATIONAL = re.compile(
    r"(?<![\w+])(?:\+|00(?=[1-9]))\s?\d" + BODY % "6,14" + r"(?!\w)" + EXTENSION, re.I
)
NANP = re.compile(
    r"(?<![\w.+/-])(?:1[\s.\-]{1,2})?(?:\([2-9]\d\d\)\s{0,2}|[2-9]\d\d[\s.\-\u2010-\u2013])"
    r"[2-9]\d\d[\s.\-\u2010-\u2013]\d{4}(?![\w]|[.\-]\d)" + EXTENSION,
    re.I,
)
NATIONAL = re.compile(
    r"(?<![\w.+/,-])(?:\(0\)\s?|\(?0)[1-9]\d{0,4}\)?"
    + BODY % "5,9"
    + r"(?!\w|[.,-]\d)"
    + EXTENSION,
    re.I,
)
CUE = re.compile(
    r"\b(?:(?:tele)?phones?|tel|mobile|mob|cell(?:phone)?|fax|pager|bleep|beeper|whatsapp"
    r"|call(?:ed|ing)?|ring|rang|text(?:ed)?|dial|reach(?:ed|able)?|contact(?:ed)?|landline|ph"
    r"|voicemail|callback|(?:her|his|my|their|our|your|new) (?:number|no))\b\.?[^\d\n+]{0,40}"
    rf"(?P<value>\+?\(?\d{BODY % '5,14'})(?!\w|[.,]\d){EXTENSION}",
    re.IGNORECASE,
)
CUES = words("phone_cues")
SIX_DIGITS = re.compile(r"\d(?:[\s().\-/\u2010-\u2013\u00a0]{0,3}\d){5}")
DATE = re.compile(r"\(?(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4})$")


def find_phones(text: str, spoken: frozenset[str]) -> Iterator[Span]:
    """Numbers that can be dialled, with their extension; `spoken` are the text's words."""
    if not SIX_DIGITS.search(text):
        return
    for pattern, is_number in FORMS:
        for found in pattern.finditer(text):
            if is_number(found[0]):
                yield Span(*found.span(), Entity.PHONE)
    if not spoken.isdisjoint(CUES):
        for found in CUE.finditer(text):
            if not DATE.match(found["value"]):
                yield Span(found.start("value"), found.end(), Entity.PHONE)


def _is_possible(text: str, region: str | None) -> bool:
    """Whether the number has a length the region dials; unassigned numbers count, as typos do."""
    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(text, region))
    except phonenumbers.NumberParseException:
        return False


def _is_international(text: str) -> bool:
    return _is_possible(text, None) or _is_possible("+" + text[2:], None)


def _is_north_american(text: str) -> bool:
    return _is_possible(text, "US")


def _is_national(text: str) -> bool:
    return not DATE.match(text) and any(_is_possible(text, region) for region in REGIONS)


FORMS: tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...] = (
    (INTERNATIONAL, _is_international),
    (NANP, _is_north_american),
    (NATIONAL, _is_national),
)
