"""Answers to the questions of an annotation tool, as the parts of one post of feedback, and back.

A question has a name of the tool's user; the post remembers under which of our columns each of
them went, so that the tool gets its own names again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from heed_cli.exchange.posts import Json
from heed_cli.exchange.stored import Stored

_CORRECTS = re.compile(r"correct|rewrit|edit|improv|better|response", re.IGNORECASE)
_LONGEST_LABEL = 255
_MOST_STARS = 5


@dataclass
class Answers:
    """What one person said of one response."""

    response: str
    body: Json = field(default_factory=dict)
    places: Json = field(default_factory=dict)

    def add_number(self, name: str, value: float) -> bool:
        """The first whole number from 1 to 5 is the stars, others are aspects from 0 to 5."""
        if type(value) is int and 1 <= value <= _MOST_STARS and "rating" not in self.body:
            self.body["rating"], self.places[name] = value, ["rating"]
            return True
        if not 0 <= value <= _MOST_STARS:
            return False
        self.body.setdefault("aspects", {})[name[:_LONGEST_LABEL]] = float(value)
        self.places[name] = ["aspect", "int" if type(value) is int else "float"]
        return True

    def add_text(self, name: str, text: str) -> bool:
        """A text that corrects is the corrected response, the first other one the comment."""
        if self.takes_correction(name):
            self.body["correction"], self.places[name] = (
                {"corrected_response": text},
                ["correction"],
            )
            return True
        if "comment" not in self.body:
            self.body["comment"], self.places[name] = text, ["comment"]
            return True
        return False

    def takes_correction(self, name: str) -> bool:
        """Whether a text under this name corrects the response."""
        return bool(_CORRECTS.search(name)) and "correction" not in self.body

    def add_label(self, name: str, label: Any) -> bool:
        """A label, or several, of the response as a whole."""
        labels = label if isinstance(label, list) else [label]
        are_short = all(isinstance(one, str) and 0 < len(one) <= _LONGEST_LABEL for one in labels)
        if not labels or not are_short or not self.response:
            return False
        spans = [{"start": 0, "end": len(self.response), "label": one} for one in labels]
        self._add_spans(name, "labels" if isinstance(label, list) else "label", spans)
        return True

    def add_spans(self, name: str, spans: list[Any]) -> bool:
        """Labelled parts of the response."""
        found = [
            {"start": one["start"], "end": one["end"], "label": one["label"]}
            for one in spans
            if set(one) == {"start", "end", "label"} and one["end"] <= len(self.response)
        ]
        if len(found) < len(spans) or not spans:
            return False
        self._add_spans(name, "spans", found)
        return True

    def _add_spans(self, name: str, kind: str, spans: list[Json]) -> None:
        annotations = self.body.setdefault("annotations", [])
        self.places[name] = [kind, len(annotations), len(annotations) + len(spans)]
        annotations += spans


def answer_of(row: Stored, place: list[Any]) -> Any:
    """The answer that went to a place, in the shape it had."""
    kind = place[0]
    if kind in ("rating", "comment", "correction"):
        column = {"comment": "comments", "correction": "corrected_response"}.get(kind, kind)
        return row[column]
    spans = (row["annotations"] or [])[slice(*place[1:])] if kind != "aspect" else []
    if kind == "spans":
        return [{name: span[name] for name in ("start", "end", "label")} for span in spans]
    labels = [span["label"] for span in spans]
    return labels if kind == "labels" else labels[0]


def aspect_of(row: Stored, name: str, place: list[Any]) -> Any:
    """The number that is kept as an aspect; a whole one is whole again."""
    value = row["aspects"][name[:_LONGEST_LABEL]]
    return int(value) if place[1] == "int" else value


def lone_answers(row: Stored) -> Json:
    """Everything a row says, under our own names, for rows no tool has named questions of."""
    said: Json = {name: row[name] for name in ("rating", "human_rating", "thumbs")}
    said |= {"comment": row["comments"], "corrected_response": row["corrected_response"]}
    said |= row["aspects"] or {}
    return {name: value for name, value in said.items() if value is not None}


def exchange_of(fields: Mapping[str, Any], responses: int = 1) -> tuple[str, dict[str, str]]:
    """The prompt, and at least so many responses by the names of their fields, if there are.

    Names such as `prompt` and `response_1` decide; texts of other names count as responses from
    the last one backwards.
    """
    texts = {name: value for name, value in fields.items() if isinstance(value, str)}
    prompts = [name for name in texts if _PROMPT.fullmatch(name)]
    found = [name for name in texts if _RESPONSE.fullmatch(name)]
    others = [name for name in texts if name not in (*prompts, *found)]
    if len(found) < responses:
        found = [*others[-(responses - len(found)) :], *found]
    rest = [*prompts, *(name for name in others if name not in found)]
    return texts[rest[0]] if rest else "", {name: texts[name] for name in found}


def post_of(answers: Answers, extra: Json, prompt: str, tool: str) -> Json | None:
    """The body of the feedback, None when nothing was said of the response.

    Answers that fit no column stay with the post, so that they are erased with it.
    """
    body = {"prompt": prompt, "response": answers.response, **answers.body}
    if extra:
        body["correction"] = {**body.get("correction", {}), "answers": extra}
        body["task_type"] = tool  # free of the rules that corrections of a known task follow
    return body if len(body) > _EXCHANGE else None


def extra_of(row: Stored) -> Json:
    """The answers that fitted no column."""
    return dict((row["correction"] or {}).get("answers") or {})


_EXCHANGE = 2
_PROMPT = re.compile(r"(user[_ -]?)?(prompt|instruction|question|query|input)", re.IGNORECASE)
_RESPONSE = re.compile(
    r"(ai[_ -]?|model[_ -]?)?(response|completion|answer|output|generation|reply|chosen|rejected)"
    r"[_ -]?([0-9]{1,2}|[a-h])?",
    re.IGNORECASE,
)
