"""Argilla 2: records with fields, and the responses of its users to rating, label, ranking, text
and span questions."""

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

NAME = "argilla"
_TIES = ("tie", "both", "equal")


def read(values: Mapping[str, Any]) -> Iterator[Post]:
    """One post per user, two when a user also ranked, and the record without what users said.

    Raises:
        InvalidInput: there are no fields, or the responses are not lists by question.
    """
    fields = values.get("fields")
    if not isinstance(fields, dict) or not fields:
        raise wrong("/fields", "missing", "The record has no `fields`")
    prompt, responses = exchange_of(fields)
    for place, (user, said) in enumerate(_by_user(values).items()):
        for post in _posts(prompt, responses, said):
            yield Post(post.kind, post.body | {"rater_id": user}, post.remembered | {"user": place})
    yield from recorded(prompt, {"record": {k: v for k, v in values.items() if k != "responses"}})


def _by_user(values: Mapping[str, Any]) -> dict[str, Json]:
    """Each user's answers by question, users in the order in which they appear."""
    found: dict[str, Json] = {}
    for question, answers in (values.get("responses") or {}).items():
        if not isinstance(answers, list):
            raise wrong("/responses", "not_a_list", "Each question must have a list of responses")
        for answer in answers:
            found.setdefault(str(answer["user_id"]), {})[question] = answer["value"]
    return found


def _posts(prompt: str, responses: dict[str, str], said: Json) -> Iterator[Post]:
    answers = Answers(next(iter(responses.values()), ""))
    extra: Json = {}
    for question, value in said.items():
        if (compared := _comparison(prompt, responses, question, value)) is not None:
            yield compared
        elif not _add(answers, question, value):
            extra[question] = value
    if (body := post_of(answers, extra, prompt, NAME)) is not None:
        yield Post("feedback", body, {"answers": answers.places})


def _add(answers: Answers, question: str, value: Any) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return answers.add_number(question, value)
    if isinstance(value, str):
        is_word = value != "" and not any(letter.isspace() for letter in value)
        is_label = is_word and not answers.takes_correction(question)
        return (is_label and answers.add_label(question, value)) or answers.add_text(
            question, value
        )
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "start" in value[0] and answers.add_spans(question, value)
    return isinstance(value, list) and answers.add_label(question, value)


def _comparison(prompt: str, responses: dict[str, str], question: str, value: Any) -> Post | None:
    """A choice between two fields by name, or a ranking of fields."""
    if len(responses) == 2 and isinstance(value, str):
        outcome = _choice(list(responses), value)
        if outcome is None:
            return None
        return _pair(prompt, responses, outcome, {"choice": [question, value]})
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        return None
    ranks = {one.get("value"): one.get("rank") for one in value}
    if len(ranks) < 2 or not set(ranks) <= set(responses) or None in ranks.values():
        return None
    remembered = {"ranking": [question, [[name, ranks[name]] for name in ranks]]}
    if len(ranks) == 2:
        first, second = (ranks[name] for name in sorted(ranks, key=list(responses).index))
        outcome = Outcome.TIE if first == second else (Outcome.A if first < second else Outcome.B)
        return _pair(
            prompt, {n: responses[n] for n in responses if n in ranks}, outcome, remembered
        )
    body = {
        "prompt": prompt,
        "candidates": [{"id": name, "text": responses[name]} for name in ranks],
        "ranking": sorted(ranks, key=lambda name: ranks[name]),
    }
    return Post("preference", body, remembered)


def _choice(names: list[str], value: str) -> Outcome | None:
    if value in names:
        return (Outcome.A, Outcome.B)[names.index(value)]
    return Outcome.TIE if value.lower() in _TIES else None


def _pair(prompt: str, responses: dict[str, str], outcome: Outcome, remembered: Json) -> Post:
    first, second = responses.values()
    body = {"prompt": prompt, "response_a": first, "response_b": second, "preferred": outcome}
    return Post("preference", body, remembered)


def write(group: Group) -> Iterator[Json]:
    """One record, with the responses of those whose rows are there; users are pseudonyms."""
    record = group.kept.get("record") if group.comes_from(NAME) else None
    if record is None:
        yield from (_lone(row) for row in (*group.feedback, *group.preferences))
        return
    said: dict[str, list[tuple[int, Json]]] = {}
    for row in (*group.feedback, *group.preferences):
        user = row["clinician_id"]
        for question, value in _answers(row):
            answer = {"value": value, "user_id": user}
            said.setdefault(question, []).append((mark_of(row)["user"], answer))
    ordered = {
        question: [answer for _, answer in sorted(found, key=lambda one: one[0])]
        for question, found in said.items()
    }
    yield {**record, "responses": ordered}


def _answers(row: Stored) -> Iterator[tuple[str, Any]]:
    mark = mark_of(row)
    if "choice" in mark:
        yield mark["choice"][0], mark["choice"][1]
    if "ranking" in mark:
        question, ranks = mark["ranking"]
        yield question, [{"value": name, "rank": rank} for name, rank in ranks]
    if "answers" in mark:
        for question, place in mark["answers"].items():
            is_aspect = place[0] == "aspect"
            yield question, aspect_of(row, question, place) if is_aspect else answer_of(row, place)
        yield from extra_of(row).items()


def _lone(row: Stored) -> Json:
    """A record of a row that no Argilla record was imported for."""
    if "outcome" in row:
        fields = {name: row[name] for name in ("prompt", "response_a", "response_b")}
        said: Json = {"preference": row["outcome"]}
    else:
        fields = {"prompt": row["user_query"], "response": row["agent_response"]}
        said = lone_answers(row)
        if row["annotations"]:
            said["annotations"] = [
                {name: span[name] for name in ("start", "end", "label")}
                for span in row["annotations"]
            ]
    user = row["clinician_id"]
    return {
        "id": str(row["id"]),
        "fields": {name: text for name, text in fields.items() if text is not None},
        "metadata": {},
        "suggestions": {},
        "responses": {name: [{"value": value, "user_id": user}] for name, value in said.items()},
        "vectors": {},
    }
