"""What is found in a text, and the text with it replaced; offsets are Unicode code points."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum


class Entity(StrEnum):
    """Kinds of identifier; the value stands in the placeholder."""

    NAME = "NAME"
    DATE_OF_BIRTH = "DATE_OF_BIRTH"
    AGE = "AGE"
    RECORD_NUMBER = "RECORD_NUMBER"
    NATIONAL_ID = "NATIONAL_ID"
    PHONE = "PHONE"
    EMAIL = "EMAIL"
    ADDRESS = "ADDRESS"
    CARD = "CARD"
    BANK_ACCOUNT = "BANK_ACCOUNT"
    IP_ADDRESS = "IP_ADDRESS"
    URL = "URL"

    @property
    def placeholder(self) -> str:
        return f"[{self.value}]"


@dataclass(frozen=True, order=True, slots=True)
class Span:
    """Where an entity stands: `start` <= i < `end`."""

    start: int
    end: int
    kind: Entity


@dataclass(frozen=True, slots=True)
class Edit:
    """`start` to `end` of the original were replaced by `size` code points."""

    start: int
    end: int
    size: int


@dataclass(frozen=True, slots=True)
class Masked:
    """A masked text, how many entities of each kind it held, and where it was changed."""

    text: str
    found: Counter[Entity] = field(default_factory=Counter)
    edits: tuple[Edit, ...] = ()

    def remap(self, start: int, end: int) -> tuple[int, int]:
        """A span of the original in the masked text, widened to every placeholder it touches."""
        return remap(self.edits, start, end)


def remap(edits: tuple[Edit, ...], start: int, end: int) -> tuple[int, int]:
    """The same for sorted edits that do not overlap; `start` < `end`."""
    return _moved(edits, start, is_end=False), _moved(edits, end, is_end=True)


def _moved(edits: tuple[Edit, ...], offset: int, *, is_end: bool) -> int:
    """Where an offset lands; one inside an edit goes to the edit's near or far side."""
    place = bisect_right(edits, offset - is_end, key=lambda edit: edit.start)
    shift = sum(edit.size - (edit.end - edit.start) for edit in edits[: max(place - 1, 0)])
    if not place:
        return offset
    last = edits[place - 1]
    if offset - is_end >= last.end:
        return offset + shift + last.size - (last.end - last.start)
    return last.start + shift + (last.size if is_end else 0)


def replace_spans(text: str, spans: Iterable[Span]) -> Masked:
    """The text with every span replaced; spans that overlap become one."""
    parts: list[str] = []
    edits: list[Edit] = []
    found: Counter[Entity] = Counter()
    done = 0
    for span in disjoint(spans):
        placeholder = span.kind.placeholder
        parts += (text[done : span.start], placeholder)
        edits.append(Edit(span.start, span.end, len(placeholder)))
        found[span.kind] += 1
        done = span.end
    return Masked("".join((*parts, text[done:])), found, tuple(edits))


def disjoint(spans: Iterable[Span]) -> list[Span]:
    """Spans in order of their place; overlapping ones joined under the longest one's kind."""
    joined: list[Span] = []
    longest = 0
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if not joined or span.start >= joined[-1].end:
            joined.append(span)
            longest = span.end - span.start
            continue
        last = joined[-1]
        is_longer = span.end - span.start > longest
        longest = max(longest, span.end - span.start)
        kind = span.kind if is_longer else last.kind
        joined[-1] = Span(last.start, max(last.end, span.end), kind)
    return joined
