"""National numbers, payment cards and bank accounts; checksums tell most of them from counts."""

import re
from collections.abc import Callable, Iterator

from stdnum import iban, luhn
from stdnum.es import dni, nie
from stdnum.fr import nir
from stdnum.gb import nhs
from stdnum.it import codicefiscale
from stdnum.us import ssn

from shared.privacy.masking.entities import Entity, Span
from shared.privacy.masking.lexicon import words

GROUPED_SSN = re.compile(r"(?<![\w-])\d{3}([- ])\d{2}\1\d{4}(?![\w]|-\d)")
TEN_DIGITS = re.compile(r"(?<![\w.-])\d{3}[- ]?\d{3}[- ]?\d{4}(?![\w]|[.-]\d)")
CARD = re.compile(r"(?<![\w.-])(?:[3-6]|2[2-7])\d{0,3}(?:[ -]?\d{3,6}){2,4}(?![\w]|[.-]\d)")
IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?!\w)")
NINO = re.compile(r"(?<!\w)(?![DFIQUV])[A-Z](?![DFIQUVO])[A-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D](?!\w)")
LETTER, EITHER = "[AC-HJKMNP-RT-Y]", r"[AC-HJKMNP-RT-Y\d]"
MBI = re.compile(rf"(?<!\w)[1-9]{LETTER}{EITHER}\d-?{LETTER}{EITHER}\d-?{LETTER}{{2}}\d\d(?!\w)")
LETTERED = re.compile(
    r"(?<!\w)(?:[A-Z]{6}\d{2}[A-Z]\d{2}[A-Z]\d{3}[A-Z]|[XYZ]?\d{7,8}-?[A-Z])(?!\w)"
)
FIFTEEN = re.compile(
    r"(?<![\w.-])[12] ?\d{2} ?(?:0[1-9]|1[0-2]) ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}(?!\w)"
)
NAMES = (
    r"SSN|social security|NHS|NINO|national insurance|NI (?=n)|medicare|medicaid|SIN"
    r"|social insurance|tax(?:payer)?(?= (?:id|num|file))|TFN|ITIN|NPI|passport|aadhaar"
    r"|driv(?:er|ing)'?s?'? licen[cs]e|identity card|national id(?:entity)?|DNI|CPF|PESEL|BSN|PPSN?"
)
CUE = re.compile(
    rf"\b(?:{NAMES})\b(?: ?(?:file number|number|no|num|id|card|#)\b)?\.?"
    r"[^\w\n]{0,4}(?:(?:is|was|of|no|number|ending|as)\b[^\w\n]{0,3}){0,2}"
    r"(?P<value>[A-Z]{0,3}[ -]?\d(?:[ .\-]?[A-Z\d]){4,18})(?!\w)",
    re.IGNORECASE,
)
CUES = words("identity_cues")
SIX_DIGITS = re.compile(r"\d[ -]?\d[ -]?\d[ -]?\d[ -]?\d[ -]?\d")
CHECKED: tuple[tuple[re.Pattern[str], Callable[[str], bool], Entity], ...] = (
    (GROUPED_SSN, ssn.is_valid, Entity.NATIONAL_ID),
    (TEN_DIGITS, nhs.is_valid, Entity.NATIONAL_ID),
    (FIFTEEN, nir.is_valid, Entity.NATIONAL_ID),
    (IBAN, iban.is_valid, Entity.BANK_ACCOUNT),
)


def find_numbers(text: str, spoken: frozenset[str]) -> Iterator[Span]:
    """Numbers of persons, cards and accounts; `spoken` are the text's words."""
    if SIX_DIGITS.search(text):
        for pattern, is_valid, kind in CHECKED:
            for found in pattern.finditer(text):
                if is_valid(found[0]):
                    yield Span(*found.span(), kind)
        yield from _whole(text, NINO)
        yield from _cards(text)
    yield from _whole(text, MBI)
    for found in LETTERED.finditer(text):
        if any(kind.is_valid(found[0]) for kind in (dni, nie, codicefiscale)):
            yield Span(*found.span(), Entity.NATIONAL_ID)
    if not spoken.isdisjoint(CUES):
        yield from _named(text)


def _whole(text: str, pattern: re.Pattern[str]) -> Iterator[Span]:
    yield from (Span(*found.span(), Entity.NATIONAL_ID) for found in pattern.finditer(text))


def _cards(text: str) -> Iterator[Span]:
    for found in CARD.finditer(text):
        digits = re.sub(r"\D", "", found[0])
        if 13 <= len(digits) <= 19 and luhn.is_valid(digits):
            yield Span(*found.span(), Entity.CARD)


def _named(text: str) -> Iterator[Span]:
    """Numbers called what they are, whether or not their checksum holds: people mistype."""
    for found in CUE.finditer(text):
        if sum(char.isdigit() for char in found["value"]) > 4:
            yield Span(*found.span("value"), Entity.NATIONAL_ID)
