"""Frozen datasets against a real database."""

import asyncio

from sqlalchemy import select, text

from services.trainer.examples import RewardDataset
from services.trainer.snapshots import CHUNK, freeze_feedback, load_dataset, membership_bits
from shared.db.tables import (
    Consent,
    Dataset,
    Feedback,
    FeedbackHistory,
    InteractionRecord,
    Outbox,
    Preference,
)


async def frozen(sessions, freezing) -> Dataset:
    async with sessions.begin() as session:
        return await freeze_feedback(session, freezing)


async def frozen_responses(sessions, freezing) -> set[str]:
    dataset = load_dataset(await frozen(sessions, freezing), freezing.store)
    return {rated.response for rated in dataset.rated}


def prompts(dataset: RewardDataset, side: str) -> set[str]:
    pairs, rated = getattr(dataset, f"{side}_pairs"), getattr(dataset, f"{side}_rated")
    return {one.prompt for one in (*pairs, *rated)}


async def test_the_same_rows_freeze_to_the_same_hash(
    sessions, freezing, insert, feedback, preference
):
    await insert(*(feedback(rating=1 + i % 5) for i in range(9)), preference(), preference())

    first, second = await frozen(sessions, freezing), await frozen(sessions, freezing)

    assert first.id != second.id
    assert first.sha256 == second.sha256
    assert first.rows == 11


async def test_membership_bits_are_exactly_the_rows(
    sessions, freezing, insert, feedback, preference
):
    rows = [feedback(rating=3), preference(), preference(outcome="tie"), feedback(comments="hm")]
    await insert(*rows)
    dataset = await frozen(sessions, freezing)
    statement = text(
        "SELECT seq FROM (SELECT seq FROM rlhf_feedback UNION SELECT seq FROM rlhf_preferences) r"
        " JOIN rlhf_dataset_rows d ON d.chunk = seq / :chunk AND d.dataset_id = :dataset"
        " WHERE get_bit(d.bits, (seq % :chunk)::int) = 1"
    )

    async with sessions() as session:
        found = await session.scalars(statement, {"chunk": CHUNK, "dataset": dataset.id})

    assert set(found) == {row.seq for row in rows[:3]}


def test_bits_of_far_apart_rows_lie_in_chunks_of_their_own():
    chunks = dict(membership_bits([0, 9, CHUNK - 1, CHUNK, 3 * CHUNK + 17]))

    assert sorted(chunks) == [0, 1, 3]
    assert (chunks[0][0], chunks[0][1], chunks[0][-1]) == (0b1, 0b10, 0b1000_0000)
    assert chunks[3][2] == 0b10
    assert sum(bits.count(0) == len(bits) - 1 for bits in (chunks[1], chunks[3])) == 2


async def test_freezing_marks_the_rows_it_holds_as_processed_and_keeps_no_history_of_it(
    sessions, freezing, insert, feedback, preference
):
    await insert(feedback(rating=3), feedback(comments="only words"), preference())

    await frozen(sessions, freezing)

    async with sessions() as session:
        marked = await session.execute(select(Feedback.rating, Feedback.processed))
        assert set(marked) == {(3, True), (None, False)}
        assert list(await session.scalars(select(Preference.processed))) == [True]
        assert list(await session.scalars(select(FeedbackHistory))) == []


async def test_rows_without_consent_or_still_pending_are_absent(
    sessions, freezing, insert, feedback
):
    await insert(
        feedback(rating=5, agent_response="allowed"),
        feedback(rating=5, agent_response="refused", consent_training=False),
        feedback(rating=5, agent_response="pending", pending=True),
        feedback(rating=5, agent_response="one step", step="1"),
    )

    assert await frozen_responses(sessions, freezing) == {"allowed"}


async def test_a_withdrawal_of_the_rater_or_of_a_subject_removes_their_rows(
    sessions, freezing, insert, feedback
):
    def said(kind: str, person: str, *, granted: bool) -> Consent:
        return Consent(kind=kind, person=person, purpose="training", granted=granted)

    await insert(
        feedback(rating=5, agent_response="stays", clinician_id="r_a"),
        feedback(rating=5, agent_response="rater left", clinician_id="r_b"),
        feedback(rating=5, agent_response="subject left", subjects=["s_x", "s_y"]),
        feedback(rating=5, agent_response="came back", clinician_id="r_c"),
        said("rater", "r_c", granted=False),
    )
    await insert(said("rater", "r_b", granted=False), said("subject", "s_y", granted=False))
    await insert(said("rater", "r_c", granted=True))

    assert await frozen_responses(sessions, freezing) == {"stays", "came back"}


async def test_feedback_that_names_an_interaction_gets_its_text_and_needs_its_consent(
    sessions, freezing, insert, feedback
):
    def recorded(interaction_id: str, *, consent: bool) -> InteractionRecord:
        return InteractionRecord(
            interaction_id=interaction_id,
            user_prompt=f"prompt {interaction_id}",
            ai_response=f"response {interaction_id}",
            consent_training=consent,
        )

    def named(interaction_id: str) -> Feedback:
        return feedback(
            rating=4, interaction_id=interaction_id, user_query=None, agent_response=None
        )

    await insert(recorded("i1", consent=True), recorded("i2", consent=False))
    await insert(named("i1"), named("i2"), named("unknown"))

    assert await frozen_responses(sessions, freezing) == {"response i1"}


async def test_rows_of_an_open_transaction_wait_for_a_later_snapshot(
    sessions, freezing, insert, feedback
):
    async with sessions() as open_session:
        open_session.add(feedback(rating=5, agent_response="unsettled"))
        await open_session.flush()
        await insert(feedback(rating=5, agent_response="behind it"))
        during = await frozen_responses(sessions, freezing)
        await open_session.rollback()

    assert during == set()
    assert await frozen_responses(sessions, freezing) == {"behind it"}


async def test_no_prompt_is_on_both_sides(sessions, freezing, insert, feedback):
    for i in range(40):
        await insert(
            feedback(rating=5, user_query=f"Question {i}"),
            feedback(rating=1, user_query=f"QUESTION  {i} "),
        )

    dataset = load_dataset(await frozen(sessions, freezing), freezing.store)

    train, test = (
        {p.casefold().replace("  ", " ").strip() for p in prompts(dataset, side)}
        for side in ("train", "test")
    )
    assert len(train) == 32
    assert len(test) == 8
    assert train & test == set()
    assert (len(dataset.train_pairs), len(dataset.test_pairs)) == (32, 8)


async def test_another_project_has_its_own_rows(sessions, freezing, insert, feedback):
    await insert(feedback(rating=5, agent_response="ours"))
    await insert(feedback(rating=5, agent_response="theirs", project_id=2))

    assert await frozen_responses(sessions, freezing) == {"ours"}


async def test_freezing_and_changed_ratings_at_once_never_deadlock(
    sessions, freezing, insert, feedback
):
    """Both lock feedback in the order of its natural key."""
    await insert(*(feedback(rating=1 + at % 5, target=f"t{-at:04}") for at in range(200)))
    in_key_order = select(Feedback).order_by(Feedback.target, Feedback.step).with_for_update()

    async def change() -> None:
        for _ in range(5):
            async with sessions.begin() as session:
                for row in (await session.scalars(in_key_order)).all():
                    row.processed = False

    await asyncio.gather(change(), *(frozen(sessions, freezing) for _ in range(3)), change())

    assert (await frozen(sessions, freezing)).rows == 200


async def test_a_frozen_dataset_is_announced_by_numbers_only(sessions, freezing, insert, feedback):
    await insert(*(feedback(rating=3) for _ in range(4)))

    dataset = await frozen(sessions, freezing)

    async with sessions() as session:
        [event] = await session.scalars(select(Outbox))
    assert event.event == "dataset.frozen"
    assert event.payload == {"dataset_id": dataset.id, "rows": 4, "sha256": dataset.sha256}
