"""Fine-grained feedback on answered questions: four predictions compared two by two, and the
first one's faults as spans, what it misses, and how it should read."""

from collections.abc import Iterator, Mapping
from typing import Any

from heed_cli.exchange.posts import Json, Post, beside, recorded, text_of, wrong
from heed_cli.exchange.stored import Group, Stored, mark_of, slices_of
from shared.contracts.values import Outcome

NAME = "qa-feedback"
PREDICTIONS = ("prediction 1", "prediction 2", "prediction 3", "prediction 4")
PAIRS = ("12", "13", "14", "23", "24", "34")
_SAID = (Outcome.TIE, Outcome.A, Outcome.B)
_FEEDBACK = {"errors", "missing-info", "corrected-prediction"}
_ERROR = {"error type": "label", "explanation": "comment", "start": "start", "end": "end"}


def read(values: Mapping[str, Any]) -> Iterator[Post]:
    """Six comparisons, one post of feedback on the first prediction, and the passages.

    Raises:
        InvalidInput: a column is missing or not of the format's shape.
    """
    question = text_of(values, "question")
    predictions = [text_of(values, name) for name in PREDICTIONS]
    short, kept = beside(values, ("question", "preference", "feedback", *PREDICTIONS))
    for names, outcome in zip(PAIRS, _choices(values), strict=False):
        body = {
            "prompt": question,
            "response_a": predictions[int(names[0]) - 1],
            "response_b": predictions[int(names[1]) - 1],
            "preferred": outcome,
            "context": short,
        }
        yield Post("preference", body, {"pair": names})
    if "feedback" in values:
        said = {"prompt": question, "response": predictions[0], "context": short}
        yield Post("feedback", said | _feedback(values["feedback"]), {})
    yield from recorded(question, kept)


def _choices(values: Mapping[str, Any]) -> list[Outcome]:
    said = values.get("preference", [])
    if not isinstance(said, list) or len(said) not in (0, len(PAIRS)) or not _are_choices(said):
        detail = "`preference` must list 0 (tie), 1 or 2 for the pairs 12 13 14 23 24 34"
        raise wrong("/preference", "not_a_choice", detail)
    return [_SAID[choice] for choice in said]


def _are_choices(said: list[Any]) -> bool:
    return all(type(choice) is int and 0 <= choice <= 2 for choice in said)


def _feedback(given: Any) -> Json:
    if not isinstance(given, dict) or set(given) != _FEEDBACK:
        detail = f"`feedback` must hold {', '.join(sorted(_FEEDBACK))}"
        raise wrong("/feedback", "wrong_columns", detail)
    correction = {
        "corrected_response": given["corrected-prediction"],
        "missing_info": given["missing-info"],
    }
    body: Json = {"task_type": "rag", "correction": correction}
    if given["errors"]:
        body["annotations"] = [_span(error, n) for n, error in enumerate(given["errors"])]
    return body


def _span(error: Any, place: int) -> Json:
    if not isinstance(error, dict) or set(error) != set(_ERROR):
        detail = f"an error must hold {', '.join(sorted(_ERROR))}"
        raise wrong(f"/feedback/errors/{place}", "wrong_columns", detail)
    return {ours: error[theirs] for theirs, ours in _ERROR.items()}


def write(group: Group) -> Iterator[Json]:
    """The row again; from other feedback, one row with its response as the first prediction."""
    if not group.comes_from(NAME):
        yield from (_alone(row) for row in group.feedback if _is_rag(row))
        return
    first = (*group.preferences, *group.feedback, *group.interactions)[0]
    row: Json = {"question": first["user_query"] if "user_query" in first else first.get("prompt")}
    row |= slices_of(first) | group.kept
    compared = {str(mark_of(one)["pair"]): one for one in group.preferences}
    for names, one in compared.items():
        row[PREDICTIONS[int(names[0]) - 1]] = one["response_a"]
        row[PREDICTIONS[int(names[1]) - 1]] = one["response_b"]
    if compared:
        row["preference"] = [_choice(compared.get(names)) for names in PAIRS]
    for one in group.feedback:
        row[PREDICTIONS[0]] = one["agent_response"]
        row["feedback"] = _said(one)
    yield row


def _choice(row: Stored | None) -> int | None:
    """None when the comparison is not there any more, or may not be used."""
    return None if row is None else _SAID.index(row["outcome"])


def _is_rag(row: Stored) -> bool:
    return row["step"] == "" and None not in (row["user_query"], row["agent_response"])


def _alone(row: Stored) -> Json:
    return {
        "question": row["user_query"],
        "passages": [],
        PREDICTIONS[0]: row["agent_response"],
        "feedback": _said(row),
    }


def _said(row: Stored) -> Json:
    spans = row["annotations"] or []
    return {
        "errors": [{theirs: span[ours] for theirs, ours in _ERROR.items()} for span in spans],
        "missing-info": (row["correction"] or {}).get("missing_info") or [],
        "corrected-prediction": row["corrected_response"],
    }
