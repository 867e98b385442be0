"""What the database itself refuses, keeps and shows, whoever writes to it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import DateTime, delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import SQLModel, col

from shared.db.tables import (
    AuditEntry,
    DatasetRows,
    Feedback,
    FeedbackHistory,
    Job,
    Preference,
    PreferenceHistory,
    TrainingRun,
)
from shared.ids import new_id

Sessions = async_sessionmaker[AsyncSession]
TABLES = Feedback.metadata.tables
DATA_MODEL = Path(__file__).parents[2] / "docs" / "data-model.md"


def feedback(**changes: Any) -> dict[str, Any]:
    row = {"id": new_id(), "feedback_id": str(new_id()), "target": "t", "consent_training": True}
    return row | {"clinician_id": "r_1", "rating": 4} | changes


def preference(**changes: Any) -> dict[str, Any]:
    row = {"id": new_id(), "preference_id": str(new_id()), "target": "t", "consent_training": True}
    words = {"prompt": "p", "response_a": "a", "response_b": "b"}
    return row | words | {"preferred": "a", "outcome": "a"} | changes


async def store(sessions: Sessions, table: type[SQLModel], *rows: dict[str, Any]) -> None:
    async with sessions.begin() as session:
        for row in rows:
            await session.execute(insert(table).values(**row))


async def post(sessions: Sessions, table: type[SQLModel], key: list[str], row: dict[str, Any]):
    """Store a row as a later post of the same rater is stored: over the live one."""
    statement = upsert(table).values(**row)
    new = {name: statement.excluded[name] for name in [*row, "seq", "xid"]}
    statement = statement.on_conflict_do_update(index_elements=key, set_=new)
    async with sessions.begin() as session:
        await session.execute(statement)


async def refusal(sessions: Sessions, table: type[SQLModel], *rows: dict[str, Any]) -> str:
    """The name of the constraint that refuses the rows."""
    with pytest.raises(DBAPIError) as caught:
        await store(sessions, table, *rows)
    cause = caught.value.orig.__cause__
    assert isinstance(cause, asyncpg.IntegrityConstraintViolationError)
    return cause.constraint_name


def test_every_table_is_on_the_data_model_page():
    page = DATA_MODEL.read_text()

    assert [name for name in TABLES if f"`{name}`" not in page] == []


def test_every_row_belongs_to_a_project():
    of_another_row = {"rlhf_projects", "rlhf_dataset_rows"}

    assert {name for name, table in TABLES.items() if "project_id" not in table.c} == of_another_row


def test_every_time_has_a_zone():
    times = [c for t in TABLES.values() for c in t.c if isinstance(c.type, DateTime)]

    assert [str(column) for column in times if not column.type.timezone] == []
    assert len(times) > len(TABLES)


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"rating": 0}, "rating_range"),
        ({"rating": 6}, "rating_range"),
        ({"human_rating": 1.1}, "human_rating_range"),
        ({"human_rating": -0.1}, "human_rating_range"),
        ({"human_rating": float("nan")}, "human_rating_range"),
        ({"thumbs": "sideways"}, "thumbs_known"),
        ({"feedback_type": "mixed"}, "feedback_type_known"),
    ],
)
async def test_feedback_out_of_range_is_refused(
    sessions: Sessions, changes: dict[str, Any], constraint: str
):
    refused_by = await refusal(sessions, Feedback, feedback(**changes))

    assert refused_by == f"ck_rlhf_feedback_{constraint}"


async def test_the_ends_of_every_range_are_accepted(sessions: Sessions):
    await store(
        sessions,
        Feedback,
        feedback(target="low", rating=1, human_rating=0, thumbs="down", feedback_type="negative"),
        feedback(target="high", rating=5, human_rating=1, thumbs="up", feedback_type="neutral"),
        feedback(target="none", rating=None),
    )

    async with sessions() as session:
        assert await session.scalar(select(func.count()).select_from(Feedback)) == 3


@pytest.mark.parametrize(
    ("preferred", "outcome"),
    [("a", "b"), (None, "a"), ("b", "tie"), ("a", "both_bad"), ("a", "ranking")],
)
async def test_a_preferred_response_that_contradicts_the_outcome_is_refused(
    sessions: Sessions, preferred: str | None, outcome: str
):
    refused_by = await refusal(
        sessions, Preference, preference(preferred=preferred, outcome=outcome)
    )

    assert refused_by == "ck_rlhf_preferences_preferred_is_the_outcome"


@pytest.mark.parametrize(
    ("preferred", "outcome"),
    [("a", "a"), ("b", "b"), (None, "tie"), (None, "both_bad"), (None, "ranking")],
)
async def test_a_preferred_response_that_repeats_the_outcome_is_stored(
    sessions: Sessions, preferred: str | None, outcome: str
):
    await store(sessions, Preference, preference(preferred=preferred, outcome=outcome))

    async with sessions() as session:
        assert await session.scalar(select(Preference.preferred)) == preferred


async def test_one_rater_has_one_live_row_on_a_target_and_step(sessions: Sessions):
    refused_by = await refusal(sessions, Feedback, feedback(), feedback(rating=1))

    assert refused_by == "uq_rlhf_feedback_project_id_target_step_clinician_id"


async def test_other_steps_raters_and_projects_never_conflict(sessions: Sessions):
    await store(
        sessions,
        Feedback,
        feedback(),
        feedback(step="s1"),
        feedback(clinician_id="r_2"),
        feedback(project_id=2),
    )

    async with sessions() as session:
        assert await session.scalar(select(func.count()).select_from(Feedback)) == 4


async def test_feedback_without_a_rater_never_conflicts(sessions: Sessions):
    await store(sessions, Feedback, feedback(clinician_id=None), feedback(clinician_id=None))

    async with sessions() as session:
        assert await session.scalar(select(func.count()).select_from(Feedback)) == 2


async def test_a_flipped_rating_leaves_one_live_row_and_its_history(sessions: Sessions):
    key = ["project_id", "target", "step", "clinician_id"]
    first, second = feedback(rating=4, context={"a": [1]}), feedback(rating=1)
    await post(sessions, Feedback, key, first)
    async with sessions() as session:
        before = (await session.execute(select(Feedback.__table__))).mappings().one()

    await post(sessions, Feedback, key, second)

    async with sessions() as session:
        live = (await session.scalars(select(Feedback))).one()
        kept = (await session.execute(select(FeedbackHistory.__table__))).mappings().one()
    assert (live.id, live.rating) == (second["id"], 1)
    assert {name: kept[name] for name in before} == dict(before)
    assert kept["superseded_by"] == second["id"]
    assert live.seq > kept["seq"]
    assert live.xid > kept["xid"]


async def test_a_flipped_preference_leaves_one_live_row_and_its_history(sessions: Sessions):
    key = ["project_id", "target", "clinician_id"]
    first = preference(clinician_id="r_1")
    second = preference(clinician_id="r_1", preferred=None, outcome="tie")
    await post(sessions, Preference, key, first)

    await post(sessions, Preference, key, second)

    async with sessions() as session:
        assert await session.scalar(select(Preference.outcome)) == "tie"
        kept = (await session.scalars(select(PreferenceHistory))).one()
    assert (kept.id, kept.outcome, kept.superseded_by) == (first["id"], "a", second["id"])


async def test_marking_a_row_processed_makes_no_history(sessions: Sessions):
    await store(sessions, Feedback, feedback())

    async with sessions.begin() as session:
        await session.execute(update(Feedback).values(processed=True))

    async with sessions() as session:
        assert (await session.scalars(select(FeedbackHistory))).all() == []


async def test_feedback_and_preferences_share_one_numbering(sessions: Sessions):
    await store(sessions, Feedback, feedback())
    await store(sessions, Preference, preference())
    await store(sessions, Feedback, feedback(target="u"))

    async with sessions() as session:
        rated = (await session.scalars(select(Feedback.seq).order_by(col(Feedback.seq)))).all()
        compared = (await session.scalars(select(Preference.seq))).all()
    assert rated[0] < compared[0] < rated[1]


async def test_the_snapshots_of_a_row_are_found_by_its_bit(sessions: Sessions):
    row = 3 * 65_536 + 13  # chunk 3, bit 13: byte 1, bit 5 of it
    holding, other = bytes([0, 0b0010_0000]), bytes([0, 0b0001_0000])
    await store(
        sessions,
        DatasetRows,
        {"chunk": 3, "dataset_id": 1, "bits": holding + bytes(8190)},
        {"chunk": 3, "dataset_id": 2, "bits": other + bytes(8190)},
        {"chunk": 2, "dataset_id": 3, "bits": holding + bytes(8190)},
    )

    found = text(
        "SELECT dataset_id FROM rlhf_dataset_rows "
        "WHERE chunk = :seq / 65536 AND get_bit(bits, :seq % 65536) = 1"
    )
    async with sessions() as session:
        assert (await session.scalars(found, {"seq": row})).all() == [1]


async def test_a_settled_watermark_hides_the_rows_of_an_open_transaction(sessions: Sessions):
    settled = text(
        "SELECT rating FROM rlhf_feedback WHERE xid < pg_snapshot_xmin(pg_current_snapshot()) "
        "ORDER BY seq"
    )
    async with sessions() as slow, sessions() as reader:
        await slow.execute(insert(Feedback).values(**feedback(rating=1)))
        await store(sessions, Feedback, feedback(target="u", rating=2))
        while_open = (await reader.scalars(settled)).all()
        visible = (await reader.scalars(select(Feedback.rating))).all()
        await slow.commit()
        afterwards = (await reader.scalars(settled)).all()

    assert visible == [2]
    assert while_open == []
    assert afterwards == [1, 2]


@pytest.mark.parametrize("change", [delete(AuditEntry), update(AuditEntry).values(actor="x")])
async def test_the_audit_log_refuses_every_change(sessions: Sessions, change: Any):
    entry = {"id": new_id(), "actor": "k_1", "action": "export", "target": "dataset:1"}
    await store(sessions, AuditEntry, entry)

    with pytest.raises(DBAPIError, match="append-only"):
        async with sessions.begin() as session:
            await session.execute(change)

    async with sessions() as session:
        assert (await session.scalars(select(AuditEntry.actor))).all() == ["k_1"]


async def test_the_audit_log_cannot_be_emptied(sessions: Sessions):
    with pytest.raises(DBAPIError, match="append-only"):
        async with sessions.begin() as session:
            await session.execute(text("TRUNCATE rlhf_audit_log"))


@pytest.mark.parametrize("table", [TrainingRun, Job])
async def test_a_second_pending_copy_of_one_piece_of_work_is_refused(
    sessions: Sessions, table: type[SQLModel]
):
    row = {"kind": "reward", "dedupe_key": "nightly"}
    await store(sessions, table, row | {"id": new_id(), "status": "running"})

    refused_by = await refusal(sessions, table, row | {"id": new_id()}, row | {"id": new_id()})

    assert refused_by == f"uq_{table.__tablename__}_pending"


@pytest.mark.parametrize("table", [TrainingRun, Job])
async def test_a_schedule_makes_one_run_per_due_time_in_each_project(
    sessions: Sessions, table: type[SQLModel]
):
    row = {"kind": "reward", "schedule": "nightly", "due_at": datetime(2025, 1, 1, 2, tzinfo=UTC)}
    await store(sessions, table, row | {"id": new_id()}, row | {"id": new_id(), "project_id": 2})

    refused_by = await refusal(sessions, table, row | {"id": new_id()})

    assert refused_by == f"uq_{table.__tablename__}_project_id_schedule_due_at"


async def test_lists_come_back_as_lists(sessions: Sessions):
    marks = [{"start": 0, "end": 3, "label": "wrong"}]
    await store(sessions, Feedback, feedback(annotations=marks, subjects=["s_1"]))
    await store(sessions, Preference, preference(reasons=["shorter"], ranking=["x", "y"]))

    async with sessions() as session:
        row = (await session.scalars(select(Feedback))).one()
        pair = (await session.scalars(select(Preference))).one()
    assert (row.annotations, row.subjects) == (marks, ["s_1"])
    assert (pair.reasons, pair.ranking, pair.candidates) == (["shorter"], ["x", "y"], None)
