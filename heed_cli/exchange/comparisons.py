"""Comparisons by several people: two responses, and `annotator1`, `annotator2`, … as columns.

0 is a tie, 1 and 2 name the better response. Each column is one rater's preference.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from heed_cli.exchange.posts import Json, Post, beside, recorded, text_of, wrong
from heed_cli.exchange.stored import Group, Stored, mark_of, slices_of
from shared.contracts.values import Outcome

NAME = "comparisons"
RATER = re.compile(r"annotator(\d+)")
_GAP = "\n\n"
_SAID = {0: Outcome.TIE, 1: Outcome.A, 2: Outcome.B}
_PAIR = ("response1", "response2")


def read(values: Mapping[str, Any]) -> Iterator[Post]:
    """One comparison per rater.

    Raises:
        InvalidInput: a column is missing, or a rater says something else than 0, 1 or 2.
    """
    prompt, remembered = _prompt(values)
    both = {name: _response(values, name, remembered) for name in _PAIR}
    raters = sorted(int(found[1]) for name in values if (found := RATER.fullmatch(name)))
    if not raters:
        raise wrong("/annotator1", "missing", "There is no column `annotator1`")
    columns = ("instruction", "input", "prompt", *_PAIR, *(f"annotator{n}" for n in raters))
    short, kept = beside(values, columns)
    for number in raters:
        body = {
            "prompt": prompt,
            "response_a": both["response1"],
            "response_b": both["response2"],
            "preferred": _outcome(values, f"annotator{number}"),
            "rater_id": f"annotator{number}",
            "context": short,
        }
        yield Post("preference", body, remembered | {"rater": number})
    yield from recorded(prompt, kept)


def _prompt(values: Mapping[str, Any]) -> tuple[str, Json]:
    """Instruction and input as one text, and what tells them apart again."""
    if "instruction" not in values:
        return text_of(values, "prompt"), {}
    instruction = text_of(values, "instruction")
    remembered: Json = {"instruction": instruction.count(_GAP)}
    if "input" not in values:
        return instruction, remembered
    given = text_of(values, "input")
    return f"{instruction}{_GAP}{given}" if given else instruction, remembered | {"input": True}


def _response(values: Mapping[str, Any], column: str, remembered: Json) -> str:
    """The response as text; a few sets hold numbers or truth values where a text was meant."""
    value = values.get(column)
    if isinstance(value, bool | int | float):
        remembered.setdefault("json", []).append(column)
        return json.dumps(value)
    return text_of(values, column)


def _outcome(values: Mapping[str, Any], column: str) -> Outcome:
    said = values[column]
    if isinstance(said, bool) or said not in _SAID:
        raise wrong(f"/{column}", "not_a_choice", f"`{column}` must be 0 (tie), 1 or 2")
    return _SAID[said]


def write(group: Group) -> Iterator[Json]:
    """One row for each pair of responses, with a column per rater."""
    compared = [row for row in group.preferences if row["outcome"] != Outcome.RANKING]
    if not compared:
        return
    first = compared[0]
    row = _instruction(first) | dict(zip(_PAIR, _responses(first), strict=True))
    for place, one in enumerate(compared, start=1):
        row[f"annotator{mark_of(one).get('rater', place)}"] = _choice(one, first)
    own = {**slices_of(first), **group.kept} if group.comes_from(NAME) else {}
    yield row | own


def _instruction(row: Stored) -> Json:
    remembered, prompt = mark_of(row), row["prompt"]
    if remembered.get("format") != NAME:
        return {"instruction": prompt, "input": ""}
    if "instruction" not in remembered:
        return {"prompt": prompt}
    if "input" not in remembered:
        return {"instruction": prompt}
    pieces = prompt.split(_GAP)
    end = remembered["instruction"] + 1
    return {"instruction": _GAP.join(pieces[:end]), "input": _GAP.join(pieces[end:])}


def _responses(row: Stored) -> list[Any]:
    texts = zip(_PAIR, (row["response_a"], row["response_b"]), strict=True)
    values = set(mark_of(row).get("json", ()))
    return [json.loads(text) if name in values else text for name, text in texts]


def _choice(row: Stored, first: Stored) -> int:
    """0, 1 or 2 in the order of the first rater, who may have seen the responses the other way."""
    choice = {Outcome.A: 1, Outcome.B: 2}.get(row["outcome"], 0)
    is_turned = row["response_a"] != first["response_a"]
    return 3 - choice if is_turned and choice else choice
