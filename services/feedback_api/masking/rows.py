"""What of a row is masked: texts, JSON values, and what is derived from them.

Ids and names of sessions, agents, interactions, tasks, models and candidates stay as they are.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from shared.contracts.posts import render_prompt, render_response
from shared.privacy.masking import Edit, Entity, Masker, mask_value
from shared.privacy.masking.entities import remap
from shared.privacy.masking.values import Path, names_in, rendering_edits, strings_in

Row = dict[str, Any]

TEXTS = (
    "user_query",
    "agent_response",
    "comments",
    "step_content",
    "prompt",
    "response_a",
    "response_b",
    "user_prompt",
    "ai_response",
)
VALUES = ("structured_response", "correction", "context", "consent", "aspects", "reasons")
LISTS = {"candidates": ("text",), "annotations": ("label", "comment"), "implicit": ("event",)}
# Beside the columns that are masked: what says whether a prompt was rendered.
NEEDED = frozenset({*TEXTS, *VALUES, *LISTS, "task_type"})
PROMPTS, RESPONSES = ("user_query",), ("agent_response", "ai_response")


@dataclass
class MaskedRow:
    """The columns that changed, what was found, and at which places of the row."""

    changed: Row = field(default_factory=dict)
    found: Counter[Entity] = field(default_factory=Counter)
    places: list[tuple[Path, Entity]] = field(default_factory=list)


def to_mask(row: Row) -> Row:
    """The part of a row that a masker needs."""
    return {name: row[name] for name in NEEDED & row.keys() if row[name]}


def mask_row(masker: Masker, row: Row) -> MaskedRow:
    """What masking makes of a row; annotations move with the response they are about."""
    result = _Masking(masker, row)
    edits = result.mask_texts()
    for name in VALUES:
        result.mask_value(name)
    for name, fields in LISTS.items():
        result.mask_items(name, fields)
    result.render_again(edits)
    return result.masked


class _Masking:
    def __init__(self, masker: Masker, row: Row) -> None:
        self.row = row
        texts = [row[name] for name in TEXTS if row.get(name) and not self._is_rendered(name)]
        values = {name: row.get(name) for name in (*VALUES, *LISTS)}
        self.masker = masker.knowing([*texts, *strings_in(values)], names_in(values))
        self.masked = MaskedRow()
        self.has_other_keys: set[str] = set()

    def mask_texts(self) -> dict[str, tuple[Edit, ...]]:
        """Mask the texts that are not rendered from a value; where each was changed."""
        edits: dict[str, tuple[Edit, ...]] = {}
        for name in TEXTS:
            if self.row.get(name) and not self._is_rendered(name):
                masked = self.masker.mask(self.row[name])
                self._note(name, masked.text, masked.found, [((), kind) for kind in masked.found])
                edits[name] = masked.edits
        return edits

    def mask_value(self, name: str) -> None:
        if not self.row.get(name):
            return
        masked = mask_value(self.masker, self.row[name])
        self._note(name, masked.value, masked.found, masked.places)
        if masked.has_other_keys:
            self.has_other_keys.add(name)

    def mask_items(self, name: str, fields: tuple[str, ...]) -> None:
        """Mask some fields of each object in a list."""
        items = []
        for place, item in enumerate(self.row.get(name) or []):
            masked = mask_value(self.masker, {key: item.get(key) for key in fields})
            items.append(item | masked.value)
            places = [((place, *path), kind) for path, kind in masked.places]
            self._note(name, None, masked.found, places)
        if items:
            self._note(name, items, Counter(), [])

    def render_again(self, edits: dict[str, tuple[Edit, ...]]) -> None:
        """Derive anew what is derived: renderings, the corrected response, annotations."""
        changed = self.masked.changed
        for name in (*PROMPTS, *RESPONSES):
            if self.row.get(name) and self._is_rendered(name):
                before = self.row[name]
                after = self._rendering(name, self.row | changed) or ""
                edits[name] = _edits(before, after, whole=bool(self.has_other_keys))
                if after != before:
                    changed[name] = after
        if "correction" in changed and self.row["correction"].get("corrected_response"):
            changed["corrected_response"] = changed["correction"]["corrected_response"]
        annotations = changed.get("annotations") or self.row.get("annotations")
        if annotations and edits.get("agent_response"):
            changed["annotations"] = [_moved(span, edits["agent_response"]) for span in annotations]

    def _is_rendered(self, name: str) -> bool:
        return (name in PROMPTS or name in RESPONSES) and self.row[name] == self._rendering(
            name, self.row
        )

    def _rendering(self, name: str, row: Row) -> str | None:
        if name in PROMPTS:
            return render_prompt(row.get("task_type"), row.get("context") or {})
        value = row.get("structured_response")
        return None if value is None else render_response(value)

    def _note(
        self, name: str, value: Any, found: Counter[Entity], places: list[tuple[Path, Entity]]
    ) -> None:
        self.masked.found += found
        self.masked.places += (((name, *path), kind) for path, kind in places)
        if value is not None and value != self.row[name]:
            self.masked.changed[name] = value


def _edits(before: str, after: str, *, whole: bool) -> tuple[Edit, ...]:
    if before == after:
        return ()
    return (Edit(0, len(before), len(after)),) if whole else rendering_edits(before, after)


def _moved(span: Row, edits: tuple[Edit, ...]) -> Row:
    start, end = remap(edits, span["start"], span["end"])
    return span | {"start": start, "end": end}
