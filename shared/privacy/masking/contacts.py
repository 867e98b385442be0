"""E-mail addresses, URLs that identify a person, IP addresses."""

import re
from collections.abc import Iterator
from ipaddress import ip_address

from shared.privacy.masking.entities import Entity, Span

# Every repetition is bounded and every start is fenced by a look-behind, so that no text makes
# a search longer than a constant per character.
EMAIL = re.compile(
    r"(?<![\w.%+'-])(?:mailto:)?[\w.%+'-]{1,64}@(?:[^\W_](?:[\w-]{0,62})\.){1,8}[^\W\d_]{2,24}(?![\w@-])"
)
SPOKEN_EMAIL = re.compile(
    r"(?<![\w.%+-])[\w.%+-]{1,64}\s{0,2}(?:\(at\)|\[at\]|\bat\b)\s{0,2}"
    r"[\w-]{1,63}(?:\s{0,2}(?:\(dot\)|\[dot\]|\bdot\b|\.)\s{0,2}[\w-]{1,63}){0,3}"
    r"\s{0,2}(?:\(dot\)|\[dot\]|\bdot\b|\.)\s{0,2}"
    r"(?:com|org|net|edu|gov|info|io|co|uk|de|ca|au|nz|ie|fr|us|in)\b",
    re.IGNORECASE,
)
URL = re.compile(r"(?<![\w/])(?:https?://|www\.)[^\s<>\"`\]\)}]{3,2000}", re.IGNORECASE)
# A page that everybody may read is no identifier; one of a person, or one with a query, may be.
PERSONAL_URL = re.compile(
    r"://[^/?#\s]{0,255}@|[?&#;][\w.%-]{1,64}=|/(?:users?|u|profiles?|patients?|people|person|in|members?"
    r"|accounts?|records?|id|~)/[^/\s]|/~\w|/@\w|(?:facebook|linkedin|instagram|twitter|x|tiktok)"
    r"\.com/\w",
    re.IGNORECASE,
)
IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]?\w)")
IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
HANDLE = re.compile(
    r"\b(?:twitter|instagram|skype|telegram|tiktok|snapchat|facebook|handle|username|user name"
    r"|wechat|whatsapp)\b\s{0,2}(?:is|id|handle|name|:|=){0,2}\s{0,2}(?P<value>@[\w.]{2,40})",
    re.IGNORECASE,
)
ENDING = ".,;:!?'"


def find_contacts(text: str) -> Iterator[Span]:
    """E-mail addresses, personal URLs, handles, IP addresses."""
    if "@" in text:
        yield from (Span(*found.span(), Entity.EMAIL) for found in EMAIL.finditer(text))
        yield from (Span(*found.span("value"), Entity.URL) for found in HANDLE.finditer(text))
    yield from (Span(*found.span(), Entity.EMAIL) for found in _spoken(text))
    yield from _urls(text)
    yield from _addresses(text)


def _spoken(text: str) -> Iterator[re.Match[str]]:
    """`jane (at) example dot com`: at and dot in words; ` at example.com` alone is prose."""
    lowered = text.casefold()
    if "dot" not in lowered and "(at)" not in lowered and "[at]" not in lowered:
        return
    for found in SPOKEN_EMAIL.finditer(text):
        inside = found[0].casefold()
        if any(mark in inside for mark in ("(at)", "[at]", "dot")):
            yield found


def _urls(text: str) -> Iterator[Span]:
    if "://" not in text and "www." not in text.casefold():
        return
    for found in URL.finditer(text):
        url = found[0].rstrip(ENDING)
        if PERSONAL_URL.search(url):
            yield Span(found.start(), found.start() + len(url), Entity.URL)


def _addresses(text: str) -> Iterator[Span]:
    """IP addresses; `1.2.3.4` after "version" or "section" is none, and neither is a time."""
    for found in IPV4.finditer(text):
        before = text[max(0, found.start() - 12) : found.start()].casefold()
        if _is_address(found[0]) and not re.search(r"(?:version|section|chapter|v|§)\s?$", before):
            yield Span(*found.span(), Entity.IP_ADDRESS)
    if text.count(":") > 1:
        for found in IPV6.finditer(text):
            if sum(char.isalnum() for char in found[0]) > 3 and _is_address(found[0]):
                yield Span(*found.span(), Entity.IP_ADDRESS)


def _is_address(text: str) -> bool:
    try:
        return bool(ip_address(text))
    except ValueError:
        return False
