"""Label Studio: tasks with data, and annotations whose results are ratings, choices, taxonomies,
texts, spans and pairwise selections."""

from collections.abc import Iterator, Mapping
from typing import Any

from heed_cli.exchange.answers import (
    Answers,
    answer_of,
    aspect_of,
    exchange_of,
    extra_of,
    lone_answers,
    post_of,
)
from heed_cli.exchange.posts import Json, Post, recorded, wrong
from heed_cli.exchange.stored import Group, Stored, mark_of
from shared.contracts.values import Outcome

NAME = "label-studio"
_BRANCH = " / "
# Who people are; a pseudonym takes the place of the first, the others are left out.
_PEOPLE = (
    "completed_by",
    "created_username",
    "created_by",
    "updated_by",
    "last_created_by",
    "comment_authors",
    "annotators",
    "reviewers",
    "reviews",
)
_SELECTED = {"left": Outcome.A, "right": Outcome.B}


def read(values: Mapping[str, Any]) -> Iterator[Post]:
    """One post per annotation, two when it also compares, and the task without what people said.

    Raises:
        InvalidInput: there is no data, or an annotation is not of the format's shape.
    """
    data = values.get("data")
    if not isinstance(data, dict) or not data:
        raise wrong("/data", "missing", "The task has no `data`")
    annotations = values.get("annotations") or []
    for place, annotation in enumerate(annotations):
        for post in _posts(data, annotation["result"]):
            remembered = post.remembered | {"annotation": place}
            yield Post(post.kind, post.body | _person(annotation), remembered)
    prompt, _ = exchange_of(data)
    shell = {name: value for name, value in values.items() if name not in _PEOPLE}
    shells = [_shell(annotation) for annotation in annotations]
    yield from recorded(prompt, {"task": shell | {"annotations": shells}})


def _person(annotation: Json) -> Json:
    who = annotation.get("completed_by")
    who = who.get("id", who.get("email")) if isinstance(who, dict) else who
    return {} if who is None else {"rater_id": str(who)}


def _shell(annotation: Json) -> Json:
    """The annotation without who made it and what it says."""
    kept = {name: value for name, value in annotation.items() if name not in _PEOPLE}
    results = annotation["result"]
    return kept | {"result": [{n: v for n, v in one.items() if n != "value"} for one in results]}


def _posts(data: Json, results: list[Json]) -> Iterator[Post]:
    prompt, responses = exchange_of(data)
    answers = Answers(next(iter(responses.values()), ""))
    extra: Json = {}
    for place, result in enumerate(results):
        value = result["value"]
        if result.get("type") == "pairwise" and value.get("selected") in _SELECTED:
            yield _pair(data, _SELECTED[value["selected"]], place)
        elif not _add(answers, str(place), result, value):
            extra[str(place)] = value
    if (body := post_of(answers, extra, prompt, NAME)) is not None:
        yield Post("feedback", body, {"answers": answers.places})


def _pair(data: Json, outcome: Outcome, place: int) -> Post:
    prompt, responses = exchange_of(data, responses=2)
    if len(responses) < 2:
        raise wrong("/data", "missing", "A pairwise result needs two texts in `data`")
    first, second, *_ = responses.values()
    body = {"prompt": prompt, "response_a": first, "response_b": second, "preferred": outcome}
    return Post("preference", body, {"selected": place})


def _add(answers: Answers, name: str, result: Json, value: Json) -> bool:
    match value:
        case {"rating": int() | float() as number, **rest} if not rest:
            return answers.add_number(name, number)
        case {"choices": list(labels), **rest} if not rest:
            return answers.add_label(name, labels)
        case {"taxonomy": list(paths), **rest} if not rest:
            are_plain = all(_BRANCH not in step for path in paths for step in path)
            return are_plain and answers.add_label(name, [_BRANCH.join(path) for path in paths])
        case {"text": [str(text)], **rest} if not rest:
            question = str(result.get("from_name", ""))
            return _add_text(answers, name, question, text)
        case {"start": int(start), "end": int(end), "labels": [str(label)], "text": text, **rest}:
            is_ours = not rest and answers.response[start:end] == text
            return is_ours and answers.add_spans(
                name, [{"start": start, "end": end, "label": label}]
            )
    return False


def _add_text(answers: Answers, name: str, question: str, text: str) -> bool:
    """The name of the question decides what the text is; the answer is known by its place."""
    if not answers.add_text(question, text):
        return False
    answers.places[name] = answers.places.pop(question)
    return True


def write(group: Group) -> Iterator[Json]:
    """One task, with the annotations of those whose rows are there; people are pseudonyms."""
    task = group.kept.get("task") if group.comes_from(NAME) else None
    if task is None:
        yield from (_lone(row) for row in (*group.feedback, *group.preferences))
        return
    said: dict[int, dict[int, Any]] = {}
    people: dict[int, str | None] = {}
    for row in (*group.feedback, *group.preferences):
        place = mark_of(row)["annotation"]
        people[place] = row["clinician_id"]
        said.setdefault(place, {}).update(_values(row, task["annotations"][place]["result"]))
    found = [
        _annotation(task["annotations"][place], values, people[place])
        for place, values in sorted(said.items())
    ]
    yield {**task, "annotations": found}


def _annotation(shell: Json, values: Mapping[int, Any], person: str | None) -> Json:
    results = [
        {**result, "value": values[place]}
        for place, result in enumerate(shell["result"])
        if place in values
    ]
    return {**shell, "completed_by": person, "result": results}


def _values(row: Stored, results: list[Json]) -> Iterator[tuple[int, Any]]:
    mark = mark_of(row)
    if "selected" in mark:
        yield mark["selected"], {"selected": "left" if row["outcome"] == Outcome.A else "right"}
    if "answers" in mark:
        for place, where in mark["answers"].items():
            yield int(place), _value(row, place, where, results[int(place)].get("type"))
        yield from ((int(place), value) for place, value in extra_of(row).items())


def _value(row: Stored, name: str, place: list[Any], kind: Any) -> Json:
    if place[0] == "aspect":
        return {"rating": aspect_of(row, name, place)}
    found = answer_of(row, place)
    if place[0] == "spans":
        [span] = found
        start, end = span["start"], span["end"]
        text = row["agent_response"][start:end]
        return {"start": start, "end": end, "text": text, "labels": [span["label"]]}
    if place[0] == "labels" and kind == "taxonomy":
        return {"taxonomy": [label.split(_BRANCH) for label in found]}
    if place[0] in ("rating", "labels"):
        return {"rating" if place[0] == "rating" else "choices": found}
    return {"text": [found]}


def _lone(row: Stored) -> Json:
    """A task of a row that no Label Studio task was imported for."""
    if "outcome" in row:
        data = {name: row[name] for name in ("prompt", "response_a", "response_b")}
        selected = {Outcome.A: "left", Outcome.B: "right"}.get(row["outcome"])
        results = [_result("preference", "pairwise", {"selected": selected})] if selected else []
    else:
        data = {"prompt": row["user_query"], "response": row["agent_response"]}
        results = list(_lone_results(row))
    annotation = {"completed_by": row["clinician_id"], "result": results}
    return {"data": data, "annotations": [annotation], "predictions": []}


def _lone_results(row: Stored) -> Iterator[Json]:
    for name, value in lone_answers(row).items():
        if isinstance(value, str):
            yield _result(name, "textarea", {"text": [value]})
        else:
            yield _result(name, "rating", {"rating": value})
    for span in row["annotations"] or []:
        text = (row["agent_response"] or "")[span["start"] : span["end"]]
        value = {
            "start": span["start"],
            "end": span["end"],
            "text": text,
            "labels": [span["label"]],
        }
        yield _result("annotations", "labels", value)


def _result(name: str, kind: str, value: Json) -> Json:
    return {"from_name": name, "to_name": "response", "type": kind, "value": value}
