"""Training runs from their row to the live model, in the foreground."""

import asyncio
import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal
from sqlalchemy import select

from services.trainer.config import TrainerSettings
from services.trainer.datasets import Evidence
from services.trainer.desk import Desk
from services.trainer.examples import PreferencePair
from services.trainer.execution import train_here
from services.trainer.lines import snapshot_lines
from services.trainer.progress import Reporter
from services.trainer.runs import Finished, execute
from services.trainer.snapshots import load_dataset, store_snapshot
from services.trainer.workplace import Workplace, open_workplace, tidy
from shared import registry
from shared.artifacts import FolderStore
from shared.contracts.training import RunKind, TrainingRequest
from shared.contracts.values import Outcome, Side
from shared.db.tables import Dataset, Lineage, ModelVersion, PromptGroup, TrainingRun
from shared.errors import (
    InvalidInput,
    LeakingDataset,
    NotEnoughData,
    RunInterrupted,
    StoreUnavailable,
)
from shared.jobs import start_foreground


async def train(settings, *, show=None, **given) -> Finished:
    request = TrainingRequest(kind=RunKind.REWARD_EMBEDDING, **{"command": "heed train"} | given)
    url = settings.database_url.get_secret_value()
    return await asyncio.to_thread(train_here, settings, url, request, show=show)


async def only_run(sessions) -> TrainingRun:
    async with sessions() as session:
        return (await session.scalars(select(TrainingRun))).one()


async def test_a_run_leaves_a_dataset_a_version_its_lineage_and_a_closed_row(
    sessions, settings, insert, polite
):
    await insert(*polite())

    finished = await train(settings)

    run = await only_run(sessions)
    async with sessions() as session:
        dataset = (await session.scalars(select(Dataset))).one()
        version = (await session.scalars(select(ModelVersion))).one()
        lineage = (await session.scalars(select(Lineage))).one()
    assert (run.status, run.dataset_id, run.model_version_id) == (
        "succeeded", dataset.id, version.id,
    )  # fmt: skip
    assert run.duration_s > 0
    assert run.code_version.startswith("0.1.0+")
    assert run.metrics["pair_accuracy"] > 0.9
    assert run.metrics["gate"] == version.gate
    assert (lineage.child, lineage.parent) == (f"model:{version.id}", f"dataset:{dataset.id}")
    manifest = json.loads((finished.folder / "reward_model.json").read_text())
    assert manifest["dataset_snapshot"] == dataset.sha256


async def test_the_first_model_is_gated_against_length_and_a_constant_and_goes_live(
    sessions, settings, insert, polite
):
    await insert(*polite())

    finished = await train(settings)

    opponents = {one["opponent"]: one for one in finished.gate["comparisons"]}
    assert set(opponents) == {"length_only", "constant"}
    assert opponents["constant"]["opponent_accuracy"] == 0.5
    assert opponents["constant"]["verdict"] == "better"
    assert (finished.gate["slices"], finished.gate["split"]["by"]) == ([], "draw")
    async with sessions() as session:
        live = await registry.champion(session)
    assert (live is not None) is finished.gate["promotes"] is finished.is_live


async def test_the_same_model_again_is_never_better_than_itself(sessions, settings, insert, polite):
    await insert(*polite(160))
    manual = settings.model_copy(update={"gate": "manual"})
    first = await train(manual)
    async with sessions.begin() as session:
        await registry.promote(session, first.version.id, reason="for the test")

    second = await train(settings)

    (comparison,) = second.gate["comparisons"]
    assert comparison["opponent"] == "champion"
    assert comparison["difference"] == 0
    assert comparison["verdict"] in ("not_worse", "undecidable")
    assert not second.is_live
    async with sessions() as session:
        assert (await registry.champion(session)).version == 1
    manifest = json.loads((second.folder / "reward_model.json").read_text())
    assert manifest["continuity"]["reference"] == "reward@1"
    assert manifest["continuity"]["values"] == pytest.approx(manifest["continuity"]["rewards"])


async def test_over_a_live_model_whose_files_are_gone_a_person_decides(
    sessions, settings, insert, polite
):
    await insert(*polite())
    first = await train(settings)
    assert first.is_live
    shutil.rmtree(first.folder)

    second = await train(settings)

    assert (second.gate["verdict"], second.is_live) == ("undecidable", False)
    assert "reward@1 cannot be loaded" in second.gate["failures"][0]
    assert {one["opponent"] for one in second.gate["comparisons"]} == {"length_only", "constant"}
    manifest = json.loads((second.folder / "reward_model.json").read_text())
    assert manifest["continuity"] is None


async def test_a_bucket_that_is_away_closes_a_run_in_the_foreground(
    sessions, settings, insert, polite
):
    await insert(*polite(40))
    away = {"artifact_url": "s3://away", "artifact_endpoint": "http://127.0.0.1:9",
            "artifact_access_key_id": "a", "artifact_secret_access_key": "b",
            "artifact_patience_s": 0.1}  # fmt: skip

    with pytest.raises(StoreUnavailable):
        await train(TrainerSettings(**settings.model_dump() | away))

    run = await only_run(sessions)
    assert run.status == "failed"
    assert "127.0.0.1:9" in run.error


async def test_a_retrained_model_never_learns_from_what_was_held_out_before(
    sessions, settings, insert, polite
):
    store = FolderStore(settings.artifacts)
    await insert(*polite(60))
    await train(settings)
    async with sessions() as session:
        first = load_dataset((await session.scalars(select(Dataset))).one(), store)
    await insert(*polite(200)[60:])
    await train(settings)
    async with sessions() as session:
        newest = select(Dataset).order_by(Dataset.id.desc()).limit(1)
        second = load_dataset((await session.scalars(newest)).one(), store)

    held_out = {pair.prompt for pair in first.test_pairs}
    assert len(held_out) == 12
    assert held_out & {pair.prompt for pair in second.train_pairs} == set()
    assert held_out <= {pair.prompt for pair in second.test_pairs}


async def test_too_little_feedback_is_refused_in_one_line_and_the_row_says_so(
    sessions, settings, insert, polite
):
    await insert(*polite(9))

    with pytest.raises(NotEnoughData, match="at least 10 .* there are 9"):
        await train(settings)

    run = await only_run(sessions)
    assert run.status == "failed"
    assert "at least 10" in run.error
    assert run.duration_s > 0
    assert run.code_version.startswith("0.1.0+")
    async with sessions() as session:
        assert (await session.scalars(select(Dataset))).all() == []


@pytest.mark.parametrize("wrong", [{"good_rating": 11}, {"min_rated": "many"}])
async def test_a_wrong_parameter_is_named_before_anything_is_frozen(
    sessions, settings, insert, polite, wrong
):
    await insert(*polite(20))

    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        await train(settings, recipe=wrong)

    async with sessions() as session:
        assert (await session.scalars(select(Dataset))).all() == []


async def test_ctrl_c_marks_the_run_interrupted_and_leaves_nothing_half_written(
    sessions, settings, insert, polite
):
    await insert(*polite(20))

    def press_ctrl_c(fraction: float, stage: str) -> None:
        if stage == "fit":
            raise KeyboardInterrupt

    with pytest.raises(RunInterrupted, match="Again: heed train"):
        await train(settings, show=press_ctrl_c)

    run = await only_run(sessions)
    assert run.status == "interrupted"
    assert run.duration_s > 0
    assert run.code_version.startswith("0.1.0+")
    assert list((settings.artifacts / ".partial").iterdir()) == []


async def test_an_unexpected_fault_fails_the_run_without_repeating_any_text(
    sessions, settings, insert, polite
):
    await insert(*polite(20))

    def fail(fraction: float, stage: str) -> None:
        if stage == "fit":
            raise ValueError("What about tea, case 0?")

    with pytest.raises(ValueError, match="tea"):
        await train(settings, show=fail)

    run = await only_run(sessions)
    assert run.status == "failed"
    assert run.error.startswith("ValueError at test_runs.py:")
    assert "tea" not in run.error


async def test_a_persons_own_file_is_trained_from_and_held_out_groups_stay_out(
    sessions, settings, insert, polite, tmp_path: Path
):
    await insert(*polite(40))
    await train(settings)
    path = tmp_path / "own.jsonl"
    lines = [
        {"prompt": row.prompt, "chosen": row.response_a, "rejected": row.response_b,
         "split": "test" if at == 59 else "train"}
        for at, row in enumerate(polite(60))
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    finished = await train(settings, dataset_file=str(path))

    async with sessions() as session:
        dataset = await session.get(Dataset, finished.version.dataset_id)
        sides = (await session.scalars(select(PromptGroup.side))).all()
    loaded = load_dataset(dataset, FolderStore(settings.artifacts))
    assert dataset.name == "own.jsonl"
    assert (len(loaded.train_pairs), len(loaded.test_pairs)) == (51, 9)
    assert (sides.count("train"), sides.count("test")) == (51, 9)


async def test_ratings_alone_are_enough_to_train_and_to_gate(sessions, settings, insert, feedback):
    good = "Gladly: this is what matters, step by step, and why."
    bad = "Nobody cares for that, so please go away and stay there."
    await insert(
        *(
            feedback(rating=5 if at % 2 else 1, agent_response=f"{good if at % 2 else bad} {at}")
            for at in range(200)
        )
    )

    finished = await train(settings)

    against = {one["opponent"]: one for one in finished.gate["comparisons"]}
    assert against["constant"]["pairs"] >= 12
    assert against["constant"]["accuracy"] > 0.9


async def test_logs_of_runs_are_removed_after_thirty_days(settings):
    logs = settings.data_dir / "logs"
    logs.mkdir()
    for name, days in (("run-old.log", 31), ("run-new.log", 29), ("trainer.log", 99)):
        (logs / name).touch()
        age = time.time() - days * 24 * 3600
        os.utime(logs / name, (age, age))

    async with open_workplace(settings, settings.database_url.get_secret_value()) as workplace:
        await tidy(workplace)

    assert {path.name for path in logs.iterdir()} == {"run-new.log", "trainer.log"}


async def test_contradicting_comparisons_teach_nothing_that_the_gate_would_let_through(
    settings, insert, polite
):
    await insert(*polite(60, outcome=Outcome.A), *polite(60, outcome=Outcome.B))

    finished = await train(settings)

    assert not finished.is_live


async def test_a_run_that_succeeds_says_nothing_of_what_an_earlier_attempt_died_of(
    settings, insert, polite, sessions
):
    await insert(*polite(40))
    opened = open_workplace(settings, settings.database_url.get_secret_value())
    values = {"params": {}, "owner": "here", "created_by": "me", "error": "killed by SIGKILL"}

    async def started(workplace: Workplace) -> TrainingRun:
        async with workplace.sessions.begin() as session:
            return await start_foreground(session, TrainingRun, kind="reward_embedding", **values)

    def run() -> None:
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(opened) as place:
            execute(Desk(portal.call(started, place), place, portal), Reporter())

    await asyncio.to_thread(run)

    found = await only_run(sessions)
    assert (found.status, found.error) == ("succeeded", None)


async def test_a_run_on_a_dataset_that_leaks_is_refused(settings, polite):
    """As on one that was frozen before near-duplicates were looked for."""
    pairs = [
        PreferencePair(row.prompt, row.response_a, row.response_b, bytes([at]))
        for at, row in enumerate(polite(40))
    ]
    leaked = replace(pairs[0], group=pairs[1].group)
    sides = {pair.group: Side.TEST if at % 5 else Side.TRAIN for at, pair in enumerate(pairs)}
    lines = snapshot_lines(Evidence(pairs=[*pairs, leaked]), sides)
    opened = open_workplace(settings, settings.database_url.get_secret_value())

    def run() -> None:
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(opened) as place:
            uri, digest = store_snapshot(place.store, lines)
            dataset = Dataset(name="old", uri=uri, sha256=digest, rows=40)
            execute(Desk(portal.call(_started_on, place, dataset), place, portal), Reporter())

    with pytest.raises(LeakingDataset, match="1 prompts as they are"):
        await asyncio.to_thread(run)


async def _started_on(workplace: Workplace, dataset: Dataset) -> TrainingRun:
    async with workplace.sessions.begin() as session:
        session.add(dataset)
        await session.flush()
        return await start_foreground(
            session, TrainingRun, kind="reward_embedding", params={}, owner="here",
            created_by="me", dataset_id=dataset.id,
        )  # fmt: skip
