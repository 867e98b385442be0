"""What Argilla and Label Studio export goes in and comes back, with pseudonyms for people."""

import json
from copy import deepcopy
from typing import Any

from sqlalchemy import select
from sqlmodel import col

from shared.db.tables import Feedback, Preference

RECORD: dict[str, Any] = {
    "id": "rec-1",
    "fields": {"instruction": "Name a colour.", "response": "Blue, of course."},
    "metadata": {"length": 4, "origin": "chat"},
    "suggestions": {"quality": {"value": 4, "score": None, "agent": "model-1"}},
    "responses": {
        "quality": [{"value": 5, "user_id": "u-1"}, {"value": 2, "user_id": "u-2"}],
        "fluency": [{"value": 0, "user_id": "u-1"}],
        "kind": [{"value": "friendly", "user_id": "u-1"}],
        "topics": [{"value": ["art", "taste"], "user_id": "u-2"}],
        "why": [{"value": "It names one.", "user_id": "u-1"}],
        "correction": [{"value": "Blue.", "user_id": "u-2"}],
        "more": [{"value": "A second remark of mine.", "user_id": "u-1"}],
        "spans": [
            {"value": [{"label": "filler", "start": 6, "end": 15}], "user_id": "u-1"},
        ],
        "odd": [{"value": 40, "user_id": "u-2"}],
    },
    "vectors": {"v": [0.5, 1.0]},
    "_server_id": "5f0a",
}
RANKED: dict[str, Any] = {
    "id": "rec-2",
    "fields": {"prompt": "Name a fruit.", "reply-1": "Pear", "reply-2": "Chair", "reply-3": "Fig"},
    "metadata": {},
    "suggestions": {},
    "responses": {
        "order": [
            {
                "value": [
                    {"value": "reply-3", "rank": 1},
                    {"value": "reply-1", "rank": 2},
                    {"value": "reply-2", "rank": 3},
                ],
                "user_id": "u-1",
            }
        ]
    },
    "vectors": {},
    "_server_id": None,
}
PAIRED: dict[str, Any] = RANKED | {
    "id": "rec-3",
    "fields": {"prompt": "Name a fruit.", "response_a": "Pear", "response_b": "Chair"},
    "responses": {
        "better": [{"value": "response_a", "user_id": "u-1"}, {"value": "tie", "user_id": "u-2"}]
    },
}


def without_users(record: dict[str, Any]) -> dict[str, Any]:
    bare = deepcopy(record)
    for answers in bare["responses"].values():
        for answer in answers:
            answer["user_id"] = "somebody"
    return bare


async def test_argilla_records_come_back_with_pseudonyms_for_users(place, tmp_path):
    records = [RECORD, RANKED, PAIRED, RECORD | {"id": "rec-4", "responses": {}}]
    (tmp_path / "records.json").write_text(json.dumps(records))

    tally = await place.take_in("argilla", tmp_path / "records.json")
    await place.give_out("argilla", tmp_path / "back.json")

    back = json.loads((tmp_path / "back.json").read_text())
    assert (tally.rows, tally.refused) == (4, 0)
    assert list(map(without_users, back)) == list(map(without_users, records))
    assert '"u-1"' not in (tmp_path / "back.json").read_text()


async def test_what_an_argilla_user_said_fills_our_columns(place, tmp_path):
    (tmp_path / "records.json").write_text(json.dumps([RECORD]))

    await place.take_in("argilla", tmp_path / "records.json")

    async with place.sessions() as session:
        rows = await session.scalars(
            select(Feedback)
            .where(col(Feedback.project_id) == place.project)
            .order_by(col(Feedback.rating).desc())
        )
        first, second = rows
    assert (first.user_query, first.agent_response) == ("Name a colour.", "Blue, of course.")
    assert (first.rating, first.comments, first.aspects) == (5, "It names one.", {"fluency": 0.0})
    assert [(s["start"], s["end"], s["label"]) for s in first.annotations] == [
        (0, 16, "friendly"),
        (6, 15, "filler"),
    ]
    assert (second.rating, second.corrected_response) == (2, "Blue.")


async def test_a_ranking_of_fields_is_a_ranking_of_candidates(place, tmp_path):
    (tmp_path / "records.json").write_text(json.dumps([RANKED]))

    await place.take_in("argilla", tmp_path / "records.json")

    async with place.sessions() as session:
        [row] = await session.scalars(
            select(Preference).where(col(Preference.project_id) == place.project)
        )
    texts = {candidate["id"]: candidate["text"] for candidate in row.candidates}
    assert [texts[name] for name in row.ranking] == ["Fig", "Pear", "Chair"]


def result(name: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"id": f"r-{name}", "from_name": name, "to_name": "text", "type": kind, "value": value}


TASK: dict[str, Any] = {
    "id": 7,
    "data": {"prompt": "Name a colour.", "response": "Blue, of course."},
    "annotations": [
        {
            "id": 71,
            "completed_by": {"id": 3, "email": "jane@clinic.example"},
            "lead_time": 3.5,
            "was_cancelled": False,
            "result": [
                result("stars", "rating", {"rating": 4}),
                result("tone", "choices", {"choices": ["friendly", "short"]}),
                result("topic", "taxonomy", {"taxonomy": [["art", "colour"], ["taste"]]}),
                result("why", "textarea", {"text": ["It names one."]}),
                result("corrected", "textarea", {"text": ["Blue."]}),
                result("notes", "textarea", {"text": ["one", "two"]}),
                result(
                    "faults",
                    "labels",
                    {"start": 6, "end": 15, "text": "of course", "labels": ["filler"]},
                ),
                result("size", "number", {"number": 40}),
            ],
        },
        {"id": 72, "completed_by": 4, "result": [result("stars", "rating", {"rating": 1})]},
        {"id": 73, "completed_by": 4, "result": [result("stars", "rating", {"rating": 2})]},
    ],
    "predictions": [{"model_version": "m", "result": []}],
    "meta": {},
    "project": 1,
}
PAIR_TASK: dict[str, Any] = {
    "id": 8,
    "data": {"question": "Name a fruit.", "text1": "Pear", "text2": "Chair"},
    "annotations": [
        {"id": 81, "completed_by": 3, "result": [result("pw", "pairwise", {"selected": "left"})]},
        {"id": 82, "completed_by": 4, "result": [result("pw", "pairwise", {"selected": "right"})]},
    ],
}


def without_people(task: dict[str, Any]) -> dict[str, Any]:
    people = [{**annotation, "completed_by": 0} for annotation in task["annotations"]]
    return {**task, "annotations": people}


async def test_label_studio_tasks_come_back_with_pseudonyms_for_people(place, tmp_path):
    tasks = [TASK, PAIR_TASK]
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))

    tally = await place.take_in("label-studio", tmp_path / "tasks.json")
    await place.give_out("label-studio", tmp_path / "back.json")

    back = json.loads((tmp_path / "back.json").read_text())
    assert (tally.rows, tally.refused) == (2, 0)
    assert list(map(without_people, back)) == list(map(without_people, tasks))
    assert "jane" not in (tmp_path / "back.json").read_text()


async def test_a_pairwise_selection_is_a_comparison(place, tmp_path):
    (tmp_path / "tasks.json").write_text(json.dumps([PAIR_TASK]))

    await place.take_in("label-studio", tmp_path / "tasks.json")
    await place.give_out("trl-preference", tmp_path / "pairs.jsonl")

    pairs = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_bytes().splitlines()]
    assert pairs == [
        {"prompt": "Name a fruit.", "chosen": "Pear", "rejected": "Chair"},
        {"prompt": "Name a fruit.", "chosen": "Chair", "rejected": "Pear"},
    ]


async def test_feedback_of_our_own_becomes_records_and_tasks(place, tmp_path):
    row = {"prompt": "p", "response": "a response", "rating": 4, "comment": "fine"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    await place.take_in("csv", tmp_path / "rows.jsonl")

    await place.give_out("argilla", tmp_path / "records.json")
    await place.give_out("label-studio", tmp_path / "tasks.json")

    [record] = json.loads((tmp_path / "records.json").read_text())
    [task] = json.loads((tmp_path / "tasks.json").read_text())
    assert record["fields"] == task["data"] == {"prompt": "p", "response": "a response"}
    assert record["responses"]["rating"] == [{"value": 4, "user_id": None}]
    results = {one["from_name"]: one["value"] for one in task["annotations"][0]["result"]}
    assert results == {"rating": {"rating": 4}, "comment": {"text": ["fine"]}}
