"""Rows that were kept long enough go: with receipts, out of datasets, leaving an erasure."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, text
from sqlmodel import col

from services.feedback_api.config import FeedbackSettings
from services.feedback_api.erasure.retention import expire_rows
from shared.config import load_settings
from shared.db.tables import (
    AuditEntry,
    Dataset,
    DatasetRows,
    Erasure,
    Feedback,
    FeedbackHistory,
    InteractionRecord,
    Job,
    Lineage,
    Preference,
    ReasoningStep,
    Receipt,
)
from shared.errors import ConfigError
from shared.ids import new_id
from shared.lineage import CHUNK, tainted

OLD, NEW = (datetime.now(UTC) - timedelta(days=days) for days in (40, 20))
MONTHS = text(
    "SELECT inhparent::regclass::text || right(inhrelid::regclass::text, 8) FROM pg_inherits "
    "JOIN pg_class ON pg_class.oid = inhrelid AND relkind = 'r'"
)


@pytest.fixture
def add(sessions):
    async def add_rows(*rows):
        async with sessions.begin() as session:
            session.add_all(rows)
        return rows

    return add_rows


@pytest.fixture
def left(sessions):
    """How many rows a table has."""

    async def count(table):
        async with sessions() as session:
            return await session.scalar(select(func.count()).select_from(table))

    return count


def feedback(number, created_at, **given):
    values = {"feedback_id": f"f{number}", "target": f"t{number}", "clinician_id": "r_a"}
    return Feedback(id=new_id(), consent_training=True, created_at=created_at, **values | given)


async def test_only_rows_of_the_named_table_that_are_old_enough_go(sessions, add, left):
    old, new = await add(feedback(1, OLD), feedback(2, NEW))
    other = {"prompt": "p", "response_a": "a", "response_b": "b", "outcome": "tie"}
    await add(
        Receipt(project_id=1, key="k1", body_mac=b"", row_id=old.id),
        Receipt(project_id=1, key="k2", body_mac=b"", row_id=new.id),
        Preference(preference_id="p1", target="t", consent_training=True, created_at=OLD, **other),
    )

    gone = await expire_rows(sessions, {"rlhf_feedback": 30})

    assert gone == {"rlhf_feedback": 1}
    assert (await left(Feedback), await left(Receipt), await left(Preference)) == (1, 1, 1)


async def test_it_leaves_an_erasure_an_audit_entry_and_a_job_and_taints_nothing(sessions, add):
    (old,) = await add(feedback(1, OLD))
    bits = bytearray(CHUNK // 8)
    bits[old.seq // 8] |= 1 << (old.seq % 8)
    await add(
        Dataset(id=7, name="d", sha256="1", uri="artifact://1/datasets/1", rows=1),
        DatasetRows(chunk=0, dataset_id=7, bits=bytes(bits)),
        Lineage(child="model:m", parent="dataset:7"),
    )

    await expire_rows(sessions, {"rlhf_feedback": 30})

    async with sessions() as session:
        (erasure,) = await session.scalars(select(Erasure))
        (entry,) = await session.scalars(select(AuditEntry))
        (job,) = await session.scalars(select(Job))
        edge = await session.scalars(select(Lineage).where(col(Lineage.child) == "dataset:7"))
        assert [row.parent for row in edge] == [f"erasure:{erasure.id}"]
        assert await tainted(session) == {}
    assert (erasure.kind, erasure.person, erasure.seqs) == (
        "retention", "rlhf_feedback", [old.seq],
    )  # fmt: skip
    assert erasure.receipt["rows"] == entry.detail["rows"] == {"rlhf_feedback": 1}
    assert (entry.action, entry.target) == ("rows.expire", "retention:rlhf_feedback")
    assert (job.queue, job.params["row_ids"]) == ("erasure", [str(old.id)])


async def test_processes_that_expire_rows_at_once_leave_one_erasure(sessions, add, left):
    row = feedback(1, OLD).model_dump(exclude={"seq", "xid"})
    await add(
        *(
            FeedbackHistory(
                **row | {"id": new_id(), "seq": n}, superseded_at=NEW, superseded_by=new_id()
            )
            for n in range(1, 300)
        )
    )

    gone = await asyncio.gather(
        *(expire_rows(sessions, {"rlhf_feedback_history": 10}) for _ in range(3))
    )

    assert sorted(each["rlhf_feedback_history"] for each in gone) == [0, 0, 299]
    assert await left(Erasure) == 1


async def test_it_happens_once_a_day(sessions, add, left):
    await add(feedback(1, OLD))
    await expire_rows(sessions, {"rlhf_feedback": 30})
    await add(feedback(2, OLD))

    assert await expire_rows(sessions, {"rlhf_feedback": 30}) == {}
    async with sessions.begin() as session:
        await session.execute(text("UPDATE rlhf_erasures SET created_at = now() - interval '1d'"))
    assert await expire_rows(sessions, {"rlhf_feedback": 30}) == {"rlhf_feedback": 1}


async def test_many_rows_go_in_transactions_of_bounded_size(sessions, add, left, monkeypatch):
    monkeypatch.setattr("services.feedback_api.erasure.retention.AT_ONCE", 2)
    await add(*(feedback(number, OLD) for number in range(5)))

    assert await expire_rows(sessions, {"rlhf_feedback": 30}) == {"rlhf_feedback": 5}

    assert await left(Feedback) == 0
    assert await left(Erasure) == 3


async def test_an_interaction_takes_its_steps_along_and_its_text_out_of_datasets(
    sessions, add, left
):
    recorded = {"user_prompt": "p", "ai_response": "r", "consent_training": True}
    old = InteractionRecord(id=new_id(), interaction_id="old", created_at=OLD, **recorded)
    await add(
        old,
        InteractionRecord(interaction_id="new", created_at=NEW, **recorded),
        ReasoningStep(id="s1", chat_id="old", step_order=1, step_content="c"),
        ReasoningStep(id="s2", chat_id="new", step_order=1, step_content="c"),
    )
    borrows = feedback(1, OLD, target="old", interaction_id="old")
    has_its_own = feedback(
        2, OLD, target="old", interaction_id="old", clinician_id="r_b", user_query="p",
        agent_response="r",
    )  # fmt: skip
    await add(borrows, has_its_own)

    await expire_rows(sessions, {"rlhf_interaction_records": 30})

    assert await left(Feedback) == 2
    async with sessions() as session:
        kept = await session.scalars(select(col(InteractionRecord.interaction_id)))
        steps = await session.scalars(select(col(ReasoningStep.id)))
        seqs = await session.scalar(select(col(Erasure.seqs)))
        job = (await session.scalars(select(Job))).one()
    assert (kept.all(), steps.all(), seqs) == (["new"], ["s2"], sorted([old.seq, borrows.seq]))
    assert job.params["interactions"] == [str(old.id)]


async def test_old_history_goes_with_its_empty_months(sessions, add, left):
    async with sessions.begin() as session:
        for days in (200, 5):
            await session.execute(_month("rlhf_feedback_history", days))
    now = datetime.now(UTC)
    version = {"feedback_id": "f", "target": "t", "consent_training": True}
    for days in (200, 1):
        await add(
            FeedbackHistory(
                id=new_id(), seq=days, superseded_by=new_id(),
                superseded_at=now - timedelta(days=days), **version,
            )
        )  # fmt: skip

    gone = await expire_rows(sessions, {"rlhf_feedback_history": 100})

    assert gone["rlhf_feedback_history"] == 1
    assert gone["rlhf_feedback_history months"] == 1
    assert await left(FeedbackHistory) == 1


async def test_the_log_loses_whole_months_only_and_says_so(sessions, add, left):
    async with sessions.begin() as session:
        for days in (200, 5):
            await session.execute(_month("rlhf_audit_log", days))
    now = datetime.now(UTC)
    for days in (200, 1):
        entry = {"actor": "a", "action": "x.do", "target": str(days)}
        await add(AuditEntry(created_at=now - timedelta(days=days), **entry))
    async with sessions() as session:
        before = set(await session.scalars(MONTHS))

    gone = await expire_rows(sessions, {"rlhf_audit_log": 100})

    assert gone["rlhf_audit_log months"] == 1
    async with sessions() as session:
        assert len(before - set(await session.scalars(MONTHS))) == 1
        log = await session.scalars(select(AuditEntry).order_by(col(AuditEntry.created_at)))
        entries = [(entry.action, entry.target) for entry in log]
    assert ("x.do", "1") in entries
    assert entries[-1] == ("partitions.drop", "rlhf_audit_log")


def _month(parent, days):
    """Makes the partition of the month that was so many days ago."""
    first = (datetime.now(UTC) - timedelta(days=days)).replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    return text(
        f"CREATE TABLE IF NOT EXISTS {parent}_{first:%Y_%m} PARTITION OF {parent} "
        f"FOR VALUES FROM ('{first:%Y-%m-%d}Z') TO ('{following:%Y-%m-%d}Z')"
    )


def test_a_table_that_is_not_kept_by_days_is_refused(monkeypatch):
    monkeypatch.setenv("HEED_RETENTION_DAYS", '{"rlhf_consents": 3}')

    with pytest.raises(ConfigError, match="HEED_RETENTION_DAYS"):
        load_settings(FeedbackSettings)


def test_the_days_are_read_as_json(monkeypatch):
    monkeypatch.setenv("HEED_RETENTION_DAYS", '{"rlhf_feedback": 730}')

    assert load_settings(FeedbackSettings).retention_days == {"rlhf_feedback": 730}
