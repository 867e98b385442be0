"""Numbers that a hospital, insurer or other keeper of records gave a person."""

import re
from collections.abc import Iterator

from shared.privacy.masking.entities import Entity, Span
from shared.privacy.masking.lexicon import words

NUMBER = r"(?:numbers?|nos?|num|nr|ids?|identifiers?|identification|code|ref(?:erence)?|#)"
KEEPER = (
    r"(?:(?:medical|health|hospital|clinical|clinic|patient|electronic)[ _-]{1,2}"
    r"(?:record|chart|file|case|unit|card|plan|insurance)"
    r"|patient|pt|hospital|clinic|case|chart|record|file|unit|accession|encounter|visit|admission"
    r"|pathology|lab(?:oratory)?|imaging|biopsy|report|specimen|sample|study|participant|subject|member(?:ship)?|subscriber|beneficiary|policy|plan"
    r"|group|insurance|claim|account|acct|prescription|rx|licen[cs]e|certificate|device|serial"
    r"|registration|referral|customer|client|employee|student)"
)
SYSTEMS = (
    r"(?:M\.?R\.?N|EMRN|EHR|URN|UHID|CHI|NHI|IHI|HCN|EMPI|MPI|MRNO"
    r"|med(?:ical)?\.? rec(?:ord)?\.?(?: (?:#|no|num|number|id))?)"
)
CUE = re.compile(
    rf"\b(?:{SYSTEMS}|{KEEPER}[ _.-]{{0,2}}{NUMBER})(?![A-Za-z])\.?"
    r"[^\w\n]{0,4}(?:(?:is|was|of|as|under|with|no|number|id)\b[^\w\n]{0,3}){0,2}"
    r"(?P<value>[A-Z]{0,5}[-/: ]?\d(?:[-/. ]?[A-Z\d]){2,17})(?!\w)",
    re.IGNORECASE,
)
CUES = words("record_cues")
MIN_DIGITS = 3
# A grouped number may run into the prose behind it: only blocks that hold a digit belong to it.
PROSE = re.compile(r"[ .](?:[A-Za-z]+(?:[ .][A-Za-z]+)*)$|[ .][A-Za-z].*$")
DATE = re.compile(r"(?:\d{4}-\d\d-\d\d|\d{1,2}/\d{1,2}/\d{2,4})$")


def find_records(text: str, spoken: frozenset[str]) -> Iterator[Span]:
    """Record, policy, account and licence numbers that are called so.

    `spoken` are the text's words.
    """
    if "#" not in text and spoken.isdisjoint(CUES):
        return
    for found in CUE.finditer(text):
        value = PROSE.sub("", found["value"])
        if sum(char.isdigit() for char in value) >= MIN_DIGITS and not DATE.match(value):
            start = found.start("value")
            yield Span(start, start + len(value), Entity.RECORD_NUMBER)
