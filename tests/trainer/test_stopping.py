"""A run that is told to stop saves after its step, and ends as one that was never stopped."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_bert import save_tiny_bert

from services.trainer.backbones import resolve_backbone
from services.trainer.checkpoints import newest_whole_checkpoint
from services.trainer.eta import Eta
from services.trainer.examples import PreferencePair, RewardDataset
from services.trainer.progress import Reporter, stop_requested
from services.trainer.recipes.transformer_reward import TransformerParams, fine_tune
from services.trainer.run_logs import (
    TailSender,
    is_last,
    last_tail,
    log_uri,
    path_here,
    read_tail,
)
from services.trainer.transformer.judgements import collect_judgements, validation_split
from services.trainer.work_folders import work_folder
from services.trainer.workplace import open_workplace, run_folder, tidy
from shared import jobs
from shared.db.tables import TrainingRun
from shared.errors import DatabaseUnavailable, InvalidInput, RunInterrupted

STEPS_PER_EPOCH = 8
WORDS = ("kind", "rude", "and", "of", "one", "two", "sky", "sea")


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Trains a tiny transformer in a folder as a worker's child would; what comes of it."""
    params = TransformerParams(
        base_model=str(save_tiny_bert(tmp_path_factory.mktemp("tiny bert"))), epochs=2,
        batch_size=4, learning_rate=3e-3, max_tokens=24, save_steps=99, evaluations_per_epoch=1,
        logging_steps=1, head_first=False,
    )  # fmt: skip
    draw = np.random.default_rng(0)

    def text() -> str:
        return " ".join(draw.choice(WORDS, size=draw.integers(1, 9)))

    pairs = [PreferencePair(f"what is {text()}", text(), text(), f"g{at}") for at in range(40)]
    judged = validation_split(
        collect_judgements(RewardDataset(pairs, [], [], [], "sha256:test")), seed=1
    )

    def tuned(work: Path, reporter: Reporter):
        work.mkdir(exist_ok=True)
        source = resolve_backbone(params.base_model)
        return fine_tune(source, *judged, params, work=work, progress=reporter)

    return tuned


@pytest.mark.parametrize("at_step", [3, STEPS_PER_EPOCH], ids=["within", "last of an epoch"])
def test_it_saves_after_the_step_it_is_in_and_goes_on_to_the_same_weights(
    train, tmp_path: Path, at_step
):
    whole = train(tmp_path / "whole", Reporter())
    reporter, seen = Reporter(), []

    def show(_fraction: float, _stage: str) -> None:
        seen.append(reporter.latest.get("step"))
        if seen[-1] == at_step - 1:
            reporter.ask_to_stop("The run was told to stop.")

    reporter.show = show
    with pytest.raises(RunInterrupted, match="told to stop"):
        train(tmp_path / "stopped", reporter)
    checkpoint = newest_whole_checkpoint(tmp_path / "stopped")
    resumed = train(tmp_path / "stopped", Reporter())

    assert Path(checkpoint).name == f"checkpoint-{at_step}"
    assert max(step for step in seen if step is not None) == at_step - 1
    weights = zip(resumed.model.parameters(), whole.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in weights)


def test_a_run_whose_claim_is_lost_is_not_asked_to_save():
    reporter = Reporter(stop_reason="taken over", is_lost=True)

    assert stop_requested(reporter) is None
    with pytest.raises(RunInterrupted, match="taken over"):
        reporter(0.5, "train", {})


def test_step_and_loss_stay_until_a_report_has_newer_ones():
    reporter = Reporter()

    reporter(0.2, "train", {"step": 4, "loss": 0.5, "epoch": 0.1})
    reporter(0.3, "train", {"step": 5})

    assert reporter.latest == {
        "fraction": 0.3, "stage": "train", "numbers": {"step": 5}, "step": 5, "loss": 0.5,
        "eta_s": None,
    }  # fmt: skip


def test_what_is_left_follows_from_the_pace_of_the_stage():
    eta = Eta()

    assert eta.left(0.0, "dataset", 0.0) is None
    assert eta.left(0.5, "train", 100.0) is None  # goes on from a checkpoint: no pace yet
    assert eta.left(0.6, "train", 110.0) == pytest.approx(40.0)  # 0.1 in 10 s, 0.4 to go
    # 0.2 in 30 s leaves 45 s; the estimate before, counted down, is 20 s: 0.3 and 0.7 of them
    assert eta.left(0.7, "train", 130.0) == pytest.approx(0.3 * 45 + 0.7 * 20)
    assert eta.left(0.9, "evaluate", 131.0) is None


def attempt(store, error: BaseException, *left: str) -> None:
    """An attempt that leaves folders behind and ends with an error."""
    with work_folder(store, 7, "sha256:a") as folder:
        for name in left:
            (folder / name).mkdir()
        raise error


def left_in(store) -> set[str]:
    return {path.name for path in (store.root / ".partial").glob("*/*")}


@pytest.mark.parametrize(
    ("error", "is_kept"),
    [
        (RunInterrupted("cancelled"), True),
        (DatabaseUnavailable("away"), True),
        (RuntimeError("out of memory"), True),
        (InvalidInput("no such parameter"), False),
        (KeyboardInterrupt(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_checkpoints_stay_when_a_later_attempt_would_go_on_from_them(store, error, is_kept):
    with pytest.raises(type(error)):
        attempt(store, error, "model.checkpoints")

    assert ("model.checkpoints" in left_in(store)) is is_kept


def test_an_attempt_begins_without_a_model_that_nobody_recorded(store):
    with pytest.raises(RuntimeError):
        attempt(store, RuntimeError("killed"), "model", "model.checkpoints")

    with work_folder(store, 7, "sha256:a"):
        assert left_in(store) == {"model.checkpoints", "learned-from"}


def test_what_learned_from_rows_that_were_erased_since_is_not_gone_on_from(store):
    with pytest.raises(RuntimeError):
        attempt(store, RuntimeError("killed"), "model.checkpoints")

    with work_folder(store, 7, "sha256:without them"):
        assert left_in(store) == {"learned-from"}


async def test_a_later_attempt_waits_for_one_that_still_writes(store):
    order = []

    def later() -> None:
        with work_folder(store, 7, "sha256:a"):
            order.append("later")

    with work_folder(store, 7, "sha256:a"):
        waiting = asyncio.create_task(asyncio.to_thread(later))
        await asyncio.sleep(0.2)
        order.append("first")
    await waiting

    assert order == ["first", "later"]


async def test_the_folder_of_a_cancelled_run_is_kept_for_some_days(sessions, settings):
    url = settings.database_url.get_secret_value()
    async with sessions.begin() as session:
        run_id = await jobs.enqueue(session, TrainingRun, kind="reward_embedding", params={})
        await jobs.cancel(session, TrainingRun, run_id)
    async with open_workplace(settings, url) as workplace:
        folder = workplace.store.root / ".partial" / run_folder(run_id)
        folder.mkdir(parents=True)

        await tidy(workplace)
        is_kept_at_first = folder.exists()
    at_once = settings.model_copy(update={"keep_stopped_days": 0.0})
    async with open_workplace(at_once, url) as workplace:
        await tidy(workplace)

    assert (is_kept_at_first, folder.exists()) == (True, False)


async def test_a_run_that_was_killed_in_its_terminal_can_go_on(sessions, settings):
    url = settings.database_url.get_secret_value()
    async with sessions.begin() as session:
        run = await jobs.start_foreground(
            session, TrainingRun, kind="sft", params={}, owner="gone:1", created_by="me"
        )
        run.heartbeat_at = run.heartbeat_at.replace(year=2020)
    async with open_workplace(settings, url) as workplace:
        folder = workplace.store.root / ".partial" / run_folder(run.id)
        folder.mkdir(parents=True)

        [interrupted] = await tidy(workplace)
        await tidy(workplace)

    assert (interrupted.id, interrupted.status) == (run.id, "interrupted")
    assert folder.exists()
    async with sessions.begin() as session:
        assert await jobs.resume(session, run.id) == "queued"


def test_the_tail_of_a_log_has_whole_lines_and_the_last_state_of_a_bar(tmp_path: Path):
    path = tmp_path / "run.log"
    path.write_bytes(b"first\nsecond\n10%\r50%\r100%\nhalf a li\0ne \xff")

    assert read_tail(path, is_over=False) == "first\nsecond\n100%\n"
    assert read_tail(path) == "first\nsecond\n100%\nhalf a line �"
    assert read_tail(path, 38).startswith("second\n")
    assert read_tail(tmp_path / "none.log") == ""


def test_the_tail_is_sent_when_it_grew_and_not_all_the_time(tmp_path: Path):
    path = tmp_path / "run.log"
    path.write_text("one\n")
    sender = TailSender(path)

    told = [sender.due(0.0), sender.due(5.0)]
    path.write_text("one\ntwo\n")
    told += [sender.due(6.0), sender.due(6.5)]

    assert told == ["one\n", None, "one\ntwo\n", None]


@pytest.mark.parametrize("written", ["", "one\n", "one\nhalf a li"])
def test_the_last_tail_of_an_attempt_says_so_on_a_line_of_its_own(tmp_path: Path, written: str):
    path = tmp_path / "run.log"
    path.write_text(written)

    tail = last_tail(path, 2)

    assert tail.splitlines() == [*written.splitlines(), "--- end of attempt 2"]
    assert (is_last(tail, 2), is_last(tail, 1), is_last(written, 2)) == (True, False, False)


def test_a_whole_log_is_read_where_it_lies_only(tmp_path: Path):
    path = tmp_path / "run.log"
    path.touch()

    assert path_here(log_uri(path)) == path
    assert path_here(f"file://another-machine{path}") is None
    assert path_here(None) is None
