"""What becomes of live models that learned from erased rows."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update
from sqlmodel import col

from services.feedback_api.erasure import ErasurePolicy, Person, apply_policy, erase_person
from services.feedback_api.erasure.hourly import look_after_models, take_up_failed
from shared import registry
from shared.contracts.values import PersonKind, RunStatus
from shared.db.tables import (
    AliasChange,
    AuditEntry,
    Dataset,
    DatasetRows,
    Erasure,
    Feedback,
    Job,
    Lineage,
    ModelVersion,
    TrainingRun,
)
from shared.ids import new_id
from shared.lineage import CHUNK, dataset_node, model_node

RETRAIN, RETIRE = (ErasurePolicy(retrains=retrains, days=30) for retrains in (True, False))
PASSED = {"verdict": "better", "passed": True}
RUN = {"kind": "reward_embedding", "recipe": {"seed": 3}, "command": "heed train embedding"}


@pytest.fixture
def live_model(sessions):
    """Makes a version that was trained on a dataset and went live."""

    async def make(dataset_id):
        async with sessions.begin() as session:
            run = TrainingRun(id=new_id(), kind="reward_embedding", params=RUN, queue="foreground")
            session.add(run)
            new = registry.NewVersion(
                kind="embedding", sha256="0" * 64, uri="artifact://1/models/0", metrics={},
                run_id=run.id, dataset_id=dataset_id,
            )  # fmt: skip
            version = await registry.register_version(session, new)
            node = dataset_node(dataset_id)
            session.add(Lineage(child=model_node(version.id), parent=node))
            await registry.promote(session, version.id, verdict=PASSED)
            return version.id

    return make


@pytest.fixture
async def dataset_id(sessions):
    """A dataset that holds one row of rater r_a."""
    async with sessions.begin() as session:
        row = Feedback(feedback_id="f", target="t", clinician_id="r_a", consent_training=True)
        dataset = Dataset(name="d", sha256="1", uri="artifact://1/datasets/1", rows=1)
        session.add_all([row, dataset])
        await session.flush()
        await session.refresh(row)
        bits = bytearray(CHUNK // 8)
        bits[row.seq // 8] |= 1 << (row.seq % 8)
        session.add(DatasetRows(chunk=0, dataset_id=dataset.id, bits=bytes(bits)))
        return dataset.id


@pytest.fixture
def erase(sessions):
    async def ask(policy):
        async with sessions.begin() as session:
            person = Person(1, PersonKind.RATER, "r_a")
            return (await erase_person(session, person, actor="me", policy=policy)).erasure.id

    return ask


async def apply(sessions, policy):
    async with sessions.begin() as session:
        return await apply_policy(session, policy, 1)


async def let_the_deadline_pass(sessions):
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    async with sessions.begin() as session:
        receipt = col(Erasure.receipt).op("||")(func.jsonb_build_object("deadline", past))
        await session.execute(update(Erasure).values(receipt=receipt))


async def champion(sessions):
    async with sessions() as session:
        live = await registry.champion(session)
    return live and live.id


async def actions(sessions):
    async with sessions() as session:
        log = select(col(AuditEntry.action)).order_by(col(AuditEntry.id))
        return [a for a in await session.scalars(log) if a.startswith("model.")]


async def test_a_run_like_the_live_models_is_queued_at_once_and_once_only(
    sessions, live_model, dataset_id, erase
):
    await live_model(dataset_id)

    await erase(RETRAIN)
    await apply(sessions, RETRAIN)

    async with sessions() as session:
        queued = await session.scalars(
            select(TrainingRun).where(col(TrainingRun.created_by) == "erasure")
        )
        (run,) = queued.all()
    assert (run.kind, run.params, run.queue, run.status) == (
        "reward_embedding", RUN, "cpu", "queued",
    )  # fmt: skip
    assert "model.retrain" in await actions(sessions)


async def test_a_run_that_ended_is_not_queued_again(sessions, live_model, dataset_id, erase):
    await live_model(dataset_id)
    await erase(RETRAIN)
    async with sessions.begin() as session:
        await session.execute(
            update(TrainingRun)
            .where(col(TrainingRun.created_by) == "erasure")
            .values(status=RunStatus.FAILED)
        )

    assert await apply(sessions, RETRAIN) == 0


async def test_the_policy_retire_trains_nothing(sessions, live_model, dataset_id, erase):
    live = await live_model(dataset_id)

    await erase(RETIRE)

    async with sessions() as session:
        assert await session.scalar(select(func.count()).select_from(TrainingRun)) == 1
    assert await champion(sessions) == live


@pytest.mark.parametrize("policy", [RETRAIN, RETIRE])
async def test_at_the_deadline_the_alias_goes_back_to_the_last_clean_version(
    sessions, live_model, dataset_id, erase, policy
):
    clean = await live_model(dataset_id + 1)
    await live_model(dataset_id)
    tainted = await live_model(dataset_id)
    await erase(policy)
    await let_the_deadline_pass(sessions)

    assert await look_after_models(sessions, policy) == 1

    assert await champion(sessions) == clean
    async with sessions() as session:
        assert (await session.get_one(ModelVersion, tainted)).retired_at is not None
    assert (await actions(sessions))[-2:] == ["model.fall_back", "model.retire"]


async def test_without_a_clean_version_nothing_is_live_any_more(
    sessions, live_model, dataset_id, erase
):
    tainted = await live_model(dataset_id)
    await erase(RETIRE)
    await let_the_deadline_pass(sessions)

    await look_after_models(sessions, RETIRE)
    await look_after_models(sessions, RETIRE)

    assert await champion(sessions) is None
    async with sessions() as session:
        last = select(AliasChange).order_by(col(AliasChange.id).desc()).limit(1)
        change = (await session.scalars(last)).one()
    assert (change.action, change.from_version_id, change.to_version_id) == (
        "fall_back", tainted, None,
    )  # fmt: skip
    assert (await actions(sessions)).count("model.retire") == 1


async def test_a_clean_model_outlives_every_deadline(sessions, live_model, dataset_id, erase):
    live = await live_model(dataset_id + 1)
    await erase(RETRAIN)
    await let_the_deadline_pass(sessions)

    assert await look_after_models(sessions, RETRAIN) == 0
    assert await champion(sessions) == live


async def test_an_erasure_whose_attempts_all_failed_is_tried_again(sessions, dataset_id, erase):
    await erase(RETIRE)
    async with sessions.begin() as session:
        await session.execute(update(Job).values(status=RunStatus.FAILED, attempt=8))

    assert await take_up_failed(sessions) == 1

    async with sessions() as session:
        (job,) = await session.scalars(select(Job))
    assert (job.status, job.attempt, job.max_attempts) == ("queued", 8, 16)


async def test_a_policy_waits_for_its_reward_and_begins_again_where_it_began(
    sessions, live_model, dataset_id, erase
):
    """Its base is clean; `policy@champion` means itself by now; its reward is tainted as well."""
    reward = await live_model(dataset_id)
    async with sessions.begin() as session:
        versions = []
        for parents in ((), (dataset_node(dataset_id), model_node(reward))):
            params = {"kind": "ppo", "recipe": {"base_model": "policy@champion"}}
            run = TrainingRun(id=new_id(), kind="ppo", params=params, queue="foreground")
            session.add(run)
            new = registry.NewVersion(
                kind="policy", sha256="0" * 64, uri="artifact://1/models/0", metrics={},
                run_id=run.id, dataset_id=None, name="policy",
            )  # fmt: skip
            versions.append(await registry.register_version(session, new))
            node = model_node(versions[-1].id)
            known = [*parents, *(model_node(one.id) for one in versions[:-1])]
            session.add_all(Lineage(child=node, parent=one) for one in known)
        await registry.promote(session, versions[-1].id, verdict=PASSED)

    async def queued() -> list[tuple[str, str]]:
        async with sessions() as session:
            runs = select(TrainingRun).where(col(TrainingRun.created_by) == "erasure")
            return [
                (run.kind, run.params["recipe"].get("base_model"))
                for run in await session.scalars(runs.order_by(col(TrainingRun.id)))
            ]

    await erase(RETRAIN)
    before = await queued()
    async with sessions.begin() as session:
        clean = registry.NewVersion(
            kind="embedding", sha256="1" * 64, uri="artifact://1/models/1", metrics={},
            run_id=None, dataset_id=None,
        )  # fmt: skip
        trained = await registry.register_version(session, clean)
        await registry.promote(session, trained.id, verdict=PASSED)
    await apply(sessions, RETRAIN)

    assert before == [("reward_embedding", None)]
    assert await queued() == [*before, ("ppo", "policy@1")]
