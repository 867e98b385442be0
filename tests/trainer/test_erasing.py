"""What an erasure does to files: snapshots, kept exports, leftovers, and the signed receipt."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import SQLModel, col

from services.feedback_api.erasure import ErasurePolicy, Person, erase_person
from services.trainer.config import TrainerSettings
from services.trainer.desk import Desk
from services.trainer.erasure_jobs import work_off_one
from services.trainer.examples import RewardDataset
from services.trainer.execution import train_here
from services.trainer.runs import load_frozen
from services.trainer.snapshots import freeze_feedback, load_dataset
from services.trainer.workplace import Workplace, open_workplace, run_folder, run_log
from shared.contracts.training import RunKind, TrainingRequest
from shared.contracts.values import PersonKind, RunStatus
from shared.db.tables import Dataset, Erasure, InteractionRecord, Job, TrainingRun
from shared.exports import exports_folder, keep_export
from shared.ids import new_id
from shared.lineage import datasets_holding, tainted
from shared.privacy.signing import is_genuine, public_key

POLICY = ErasurePolicy(retrains=False, days=30)


@dataclass
class Bench:
    """A deployment without processes: rows, snapshots, and the work on files when it is asked."""

    workplace: Workplace

    @property
    def sessions(self) -> async_sessionmaker[AsyncSession]:
        return self.workplace.sessions

    async def insert(self, *rows: SQLModel) -> None:
        async with self.sessions.begin() as session:
            session.add_all(rows)

    async def freeze(self) -> Dataset:
        async with self.sessions.begin() as session:
            return await freeze_feedback(session, self.workplace.freezing("me"))

    async def freeze_and_fail(self) -> None:
        """As when the process or the database dies before the commit."""
        async with self.sessions() as session:
            await freeze_feedback(session, self.workplace.freezing("me"))
            await session.rollback()

    async def erase(self, pseudonym: str, kind: PersonKind = PersonKind.RATER) -> Erasure:
        """Erase a person from the database; the files are still to be done."""
        async with self.sessions.begin() as session:
            person = Person(1, kind, pseudonym)
            return (await erase_person(session, person, actor="me", policy=POLICY)).erasure

    async def work_off(self) -> bool:
        return await work_off_one(self.workplace)

    async def stored(self, table: Any, key: object) -> Any:
        """A row as the database has it now."""
        async with self.sessions() as session:
            return await session.get_one(table, key)

    def texts_of(self, dataset: Dataset) -> str:
        return self.workplace.store.path(dataset.uri).read_text()


@pytest.fixture
async def bench(settings: TrainerSettings) -> AsyncIterator[Bench]:
    async with open_workplace(settings, settings.database_url.get_secret_value()) as workplace:
        yield Bench(workplace)


async def test_the_erased_rows_leave_the_snapshot_and_the_receipt_says_so(bench, feedback):
    gone = feedback(clinician_id="r_a", rating=5, agent_response="canary")
    kept = [feedback(clinician_id="r_b", rating=n % 5 + 1, agent_response=f"{n}") for n in range(5)]
    await bench.insert(gone, *kept)
    old = await bench.freeze()
    old_path = bench.workplace.store.path(old.uri)
    assert "canary" in old_path.read_text()

    erasure = await bench.erase("r_a")
    assert await bench.work_off()

    new = await bench.stored(Dataset, old.id)
    assert "canary" not in bench.texts_of(new)
    rated = load_dataset(new, bench.workplace.store).rated
    assert {one.response for one in rated} == set("01234")
    assert not old_path.exists()
    assert (new.rows, new.previous_sha256) == (5, [old.sha256])
    assert new.counts["rated_train"] + new.counts["rated_test"] == 5
    finished = await bench.stored(Erasure, erasure.id)
    assert finished.finished_at is not None
    assert finished.receipt["datasets"] == [
        {
            "id": old.id,
            "rows_removed": 1,
            "sha256_before": old.sha256,
            "sha256_after": new.sha256,
        }
    ]
    assert is_genuine(finished.receipt, public_key(bench.workplace.secret))


async def test_no_bit_of_an_erased_row_stays(bench, feedback, preference):
    mine = [feedback(clinician_id="r_a", rating=2), preference(clinician_id="r_a")]
    others = [feedback(rating=3), preference()]
    await bench.insert(*mine, *others)
    dataset = await bench.freeze()

    await bench.erase("r_a")
    await bench.work_off()

    async with bench.sessions() as session:
        held = await datasets_holding(session, [row.seq for row in (*mine, *others)])
        assert held == {dataset.id: sorted(row.seq for row in others)}
        ones = text("SELECT sum(bit_count(bits)) FROM rlhf_dataset_rows")
        assert await session.scalar(ones) == 2


async def test_a_comparison_goes_when_either_of_its_ratings_goes(bench, feedback):
    same = {"user_query": "Which?"}
    await bench.insert(
        feedback(clinician_id="r_a", rating=1, agent_response="bad", **same),
        feedback(clinician_id="r_b", rating=5, agent_response="good", **same),
    )
    dataset = await bench.freeze()
    assert dataset.counts["from_rating"] == 1

    await bench.erase("r_a")
    await bench.work_off()

    new = await bench.stored(Dataset, dataset.id)
    assert "from_rating" not in new.counts
    assert [json.loads(line)["kind"] for line in bench.texts_of(new).splitlines()] == ["rated"]


async def test_feedback_on_an_erased_interaction_leaves_the_snapshot(bench, feedback):
    recorded = InteractionRecord(
        interaction_id="i1", user_prompt="canary", ai_response="r", consent_training=True,
        subjects=["s_x"],
    )  # fmt: skip
    about = feedback(
        interaction_id="i1", target="i1", rating=2, user_query=None, agent_response=None
    )
    await bench.insert(recorded, about, feedback(rating=3))
    dataset = await bench.freeze()
    assert "canary" in bench.texts_of(dataset)

    await bench.erase("s_x", PersonKind.SUBJECT)
    await bench.work_off()

    assert "canary" not in bench.texts_of(await bench.stored(Dataset, dataset.id))


async def test_equal_snapshots_share_their_file_before_and_after(bench, feedback):
    await bench.insert(feedback(clinician_id="r_a", rating=5), feedback(rating=3))
    one, other = await bench.freeze(), await bench.freeze()
    assert one.uri == other.uri

    await bench.erase("r_a")
    await bench.work_off()

    one, other = await bench.stored(Dataset, one.id), await bench.stored(Dataset, other.id)
    assert one.sha256 == other.sha256
    assert len(load_dataset(other, bench.workplace.store).rated) == 1
    assert len(list(bench.workplace.store.root.glob("1/datasets/*"))) == 1


async def test_a_snapshot_without_the_person_is_left_as_it_is(bench, feedback):
    await bench.insert(feedback(rating=3))
    before = await bench.freeze()
    await bench.insert(feedback(clinician_id="r_a", rating=5))

    erasure = await bench.erase("r_a")
    await bench.work_off()

    assert (await bench.stored(Dataset, before.id)).sha256 == before.sha256
    assert (await bench.stored(Erasure, erasure.id)).receipt["datasets"] == []


async def test_a_snapshot_in_the_making_is_waited_for_and_rewritten(bench, feedback):
    """Its rows were read before they were erased, and nobody sees it before its commit."""
    await bench.insert(feedback(clinician_id="r_a", rating=5), feedback(rating=3))
    async with bench.sessions.begin() as holding:
        await holding.execute(text("LOCK TABLE rlhf_datasets IN EXCLUSIVE MODE"))
        freezing = asyncio.create_task(bench.freeze())
        await _someone_waits(holding)  # its rows are read, its row cannot be written yet
        await bench.erase("r_a")
        working = asyncio.create_task(bench.work_off())
        await _someone_waits(holding, "advisory")
    dataset = await freezing
    await working

    assert dataset.rows == 2
    assert (await bench.stored(Dataset, dataset.id)).rows == 1


async def test_a_snapshot_that_was_never_committed_goes_if_it_holds_the_rows(bench, feedback):
    """One that holds none of them may be of another database that shares the folder."""
    await bench.insert(feedback(rating=3))
    await bench.freeze_and_fail()
    await bench.insert(feedback(clinician_id="r_a", rating=5, agent_response="canary"))
    await bench.freeze_and_fail()
    await bench.erase("r_a")

    await bench.work_off()

    [left] = bench.workplace.store.root.glob("1/datasets/*")
    assert "canary" not in left.read_text()


async def test_what_a_killed_process_left_half_written_goes(bench, feedback):
    left = bench.workplace.store.root / ".partial" / "0123"
    left.mkdir(parents=True)
    (left / "snapshot.jsonl").write_text("canary")
    await bench.insert(feedback(clinician_id="r_a", rating=5))
    await bench.erase("r_a")

    await bench.work_off()

    assert not left.exists()


async def _someone_waits(session, kind="relation"):
    waiting = text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = :kind)")
    for _ in range(3000):
        if await session.scalar(waiting, {"kind": kind}):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody waits")


async def test_a_kept_export_that_holds_the_rows_is_removed(bench, settings, feedback):
    mine, other = feedback(clinician_id="r_a", rating=5), feedback(rating=3)
    await bench.insert(mine, other)
    paths = {}
    for name, row in (("mine.jsonl", mine), ("other.jsonl", other)):
        paths[name] = exports_folder(settings.data_dir) / name
        paths[name].write_text("text")
        keep_export(settings.data_dir, paths[name], [row.seq])

    erasure = await bench.erase("r_a")
    await bench.work_off()

    assert [path.exists() for path in paths.values()] == [False, True]
    assert (await bench.stored(Erasure, erasure.id)).receipt["exports_removed"] == ["mine.jsonl"]


async def test_checkpoints_and_logs_of_runs_on_the_snapshot_go_unless_one_is_at_work(
    bench, settings, feedback
):
    await bench.insert(feedback(clinician_id="r_a", rating=5))
    dataset = await bench.freeze()
    runs = {
        status: TrainingRun(
            id=new_id(),
            kind="reward_embedding",
            status=status,
            dataset_id=dataset.id,
            log_tail="said",
        )  # fmt: skip
        for status in (RunStatus.INTERRUPTED, RunStatus.RUNNING)
    }
    await bench.insert(*runs.values())
    for run in runs.values():
        (bench.workplace.store.root / ".partial" / run_folder(run.id)).mkdir(parents=True)
        run_log(settings, run.id).parent.mkdir(exist_ok=True)
        run_log(settings, run.id).write_text("said")

    await bench.erase("r_a")
    await bench.work_off()

    for status, is_there in ((RunStatus.INTERRUPTED, False), (RunStatus.RUNNING, True)):
        run_id = runs[status].id
        folder = bench.workplace.store.root / ".partial" / run_folder(run_id)
        left = (folder, run_log(settings, run_id))
        assert [path.exists() for path in left] == [is_there, is_there]
        assert ((await bench.stored(TrainingRun, run_id)).log_tail == "said") is is_there


async def test_the_finished_job_keeps_no_ids_of_rows(bench, feedback):
    await bench.insert(feedback(clinician_id="r_a", rating=5))
    erasure = await bench.erase("r_a")

    await bench.work_off()

    async with bench.sessions() as session:
        (job,) = await session.scalars(select(Job))
    assert (job.status, job.params) == ("succeeded", {"erasure_id": str(erasure.id)})
    assert not await bench.work_off()


async def test_a_damaged_snapshot_fails_the_attempt_and_the_erasure_stays_open(bench, feedback):
    await bench.insert(feedback(clinician_id="r_a", rating=5))
    dataset = await bench.freeze()
    path = bench.workplace.store.path(dataset.uri)
    path.write_text(path.read_text() + "\n")
    erasure = await bench.erase("r_a")

    await bench.work_off()

    async with bench.sessions() as session:
        (job,) = await session.scalars(select(Job))
    assert (job.status, job.attempt) == ("queued", 1)
    assert "is damaged" in job.error
    assert (await bench.stored(Erasure, erasure.id)).finished_at is None
    assert job.params["row_ids"] != []


async def test_a_worker_killed_between_two_snapshots_leaves_the_rest_to_the_next(
    bench, settings, feedback, start_worker
):
    mine = feedback(clinician_id="r_a", rating=5, agent_response="canary")
    await bench.insert(mine, feedback(rating=3))
    first = await bench.freeze()
    await bench.insert(feedback(rating=4))
    second = await bench.freeze()
    erasure = await bench.erase("r_a")

    async with bench.sessions.begin() as holding:
        await holding.execute(select(Dataset).where(col(Dataset.id) == second.id).with_for_update())
        worker = await start_worker()
        for _ in range(1200):
            if (await bench.stored(Dataset, first.id)).previous_sha256:
                break
            await asyncio.sleep(0.05)
        worker.kill()
        await worker.wait()
    assert (await bench.stored(Erasure, erasure.id)).finished_at is None
    async with bench.sessions.begin() as session:
        await session.execute(update(Job).values(lease_until=func.now()))
    await bench.work_off()

    assert (await bench.stored(Erasure, erasure.id)).finished_at is not None
    for dataset in (first, second):
        new = await bench.stored(Dataset, dataset.id)
        assert new.previous_sha256 == [dataset.sha256]
        assert "canary" not in bench.texts_of(new)
    files = bench.workplace.store.root.glob("1/datasets/*")
    assert [path for path in files if "canary" in path.read_text()] == []


async def test_a_model_that_was_in_training_when_its_rows_went_is_tainted(bench, settings, polite):
    """The dataset is clean by the time the model is registered; what was read was not."""
    mine, *others = polite(60)
    mine.clinician_id = "r_a"
    await bench.insert(mine, *others)
    loop = asyncio.get_running_loop()
    erased: list[Erasure] = []

    async def erase_now() -> None:
        erased.append(await bench.erase("r_a"))
        await bench.work_off()

    def show(_: float, stage: str) -> None:
        if stage == "gate" and not erased:
            asyncio.run_coroutine_threadsafe(erase_now(), loop).result()

    request = TrainingRequest(kind=RunKind.REWARD_EMBEDDING)
    url = settings.database_url.get_secret_value()
    finished = await asyncio.to_thread(train_here, settings, url, request, show=show)

    async with bench.sessions() as session:
        dataset = await session.get_one(Dataset, finished.version.dataset_id)
        nodes = await tainted(session)
    assert dataset.rows == 59
    assert nodes == {f"model:{finished.version.id}": [erased[0].id]}


async def test_a_run_reads_its_dataset_again_when_it_was_rewritten_meanwhile(
    bench, settings, polite
):
    """A run that is tried again knows its dataset already; the file may go at that moment."""
    mine, *others = polite(60)
    mine.clinician_id = "r_a"
    await bench.insert(mine, *others)
    frozen = await bench.freeze()
    await bench.erase("r_a")
    await bench.work_off()

    def read() -> RewardDataset:
        opened = open_workplace(settings, settings.database_url.get_secret_value())
        run = TrainingRun(id=new_id(), kind="reward_embedding")
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(opened) as place:
            return load_frozen(Desk(run, place, portal), frozen)

    dataset = await asyncio.to_thread(read)

    assert len(dataset.train_pairs) + len(dataset.test_pairs) == 59
