"""A run whose machine is gone goes on elsewhere, from what it left in the bucket."""

import json
from contextlib import suppress
from pathlib import Path

from services.trainer.checkpoints import newest_of_any_kind
from services.trainer.config import TrainerSettings
from services.trainer.shared_checkpoints import kept_elsewhere
from services.trainer.work_folders import LEARNED_FROM
from shared.artifacts import ArtifactStore, FolderStore, open_store
from shared.db.tables import TrainingRun
from shared.errors import RunInterrupted
from shared.ids import new_id
from tests.support.s3 import Place

RUN_ID = new_id()


def attempt(number: int) -> TrainingRun:
    return TrainingRun(id=RUN_ID, kind="ppo", params={}, attempt=number)


def machine(settings: TrainerSettings, s3: Place, home: Path) -> ArtifactStore:
    """The bucket as a machine sees it that keeps its copies at home."""
    return open_store(settings.model_copy(update=s3.settings | {"data_dir": home}))


def work(home: Path, data: str = "sha256:data") -> Path:
    folder = home / "run"
    folder.mkdir(parents=True)
    (folder / LEARNED_FROM).write_text(data)
    return folder


def save(folder: Path, step: int, *, is_whole: bool = True) -> None:
    place = folder / "checkpoints" / f"checkpoint-{step}"
    place.mkdir(parents=True)
    (place / "state.safetensors").write_bytes(b"weights of step %d" % step)
    if is_whole:
        (place / "state.json").write_text(json.dumps({"step": step}))


def save_evaluated(folder: Path, step: int, *, best: int) -> None:
    """A checkpoint of transformers, after so many steps of which one gave the best evaluation."""
    place = folder / "model.checkpoints" / f"checkpoint-{step}"
    place.mkdir(parents=True)
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (place / name).write_text(f"{name} of step {step}")
    (place / "trainer_state.json").write_text(json.dumps({"best_global_step": best}))


def steps(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("checkpoints/checkpoint-*"))


def test_another_machine_goes_on_from_the_newest_whole_checkpoint(
    settings: TrainerSettings, s3: Place, tmp_path: Path
) -> None:
    first, second = (machine(settings, s3, tmp_path / name) for name in ("first", "second"))
    folder = work(tmp_path / "a")
    with suppress(RunInterrupted), kept_elsewhere(first, attempt(1), folder):
        save(folder, 4)
        save(folder, 6, is_whole=False)
        raise RunInterrupted("told to stop")

    elsewhere = work(tmp_path / "b")
    with kept_elsewhere(second, attempt(2), elsewhere):
        found = steps(elsewhere)
        kept = (elsewhere / "checkpoints/checkpoint-4/state.safetensors").read_bytes()

    assert found == ["checkpoint-4"]
    assert kept == b"weights of step 4"


def test_the_best_weights_go_along_with_the_newest_checkpoint(
    settings: TrainerSettings, s3: Place, tmp_path: Path
) -> None:
    first, second = (machine(settings, s3, tmp_path / name) for name in ("first", "second"))
    folder = work(tmp_path / "a")
    with kept_elsewhere(first, attempt(1), folder):
        for step in (2, 4, 6):
            save_evaluated(folder, step, best=min(step, 4))

    elsewhere = work(tmp_path / "b")
    with kept_elsewhere(second, attempt(2), elsewhere):
        newest = newest_of_any_kind(elsewhere)
        found = sorted(path.name for path in elsewhere.glob("model.checkpoints/*/model*"))

    assert newest == elsewhere / "model.checkpoints/checkpoint-6"
    best = elsewhere / "model.checkpoints/checkpoint-4/model.safetensors"
    assert (len(found), best.read_text()) == (2, "model.safetensors of step 4")


def test_a_machine_that_gets_a_run_back_goes_on_from_where_another_one_came_to(
    settings: TrainerSettings, s3: Place, tmp_path: Path
) -> None:
    first, second = (machine(settings, s3, tmp_path / name) for name in ("first", "second"))
    here, there = work(tmp_path / "a"), work(tmp_path / "b")
    with kept_elsewhere(first, attempt(1), here):
        save(here, 500)
    with kept_elsewhere(second, attempt(2), there):
        save(there, 2000)

    with kept_elsewhere(first, attempt(3), here):
        found = newest_of_any_kind(here)

    assert found == here / "checkpoints/checkpoint-2000"
    kept = second.newest_checkpoint(RUN_ID)
    assert kept is not None
    assert steps(kept) == ["checkpoint-2000"]


def test_a_machine_that_came_further_than_it_could_store_goes_on_from_there(
    settings: TrainerSettings, s3: Place, tmp_path: Path
) -> None:
    store, folder = machine(settings, s3, tmp_path), work(tmp_path / "a")
    with kept_elsewhere(store, attempt(1), folder):
        save(folder, 4)
    save(folder, 8)

    with kept_elsewhere(store, attempt(2), folder):
        found = steps(folder)

    assert found == ["checkpoint-4", "checkpoint-8"]


def test_what_learned_from_other_data_is_left_alone(
    settings: TrainerSettings, s3: Place, tmp_path: Path
) -> None:
    store, folder = machine(settings, s3, tmp_path), work(tmp_path / "a")
    with kept_elsewhere(store, attempt(1), folder):
        save(folder, 4)

    elsewhere = work(tmp_path / "b", "sha256:rewritten after an erasure")
    with kept_elsewhere(store, attempt(2), elsewhere):
        found = steps(elsewhere)

    assert found == []


def test_a_late_process_of_an_earlier_attempt_changes_nothing(
    settings: TrainerSettings, s3: Place, tmp_path: Path
) -> None:
    store = machine(settings, s3, tmp_path)
    late, newer = work(tmp_path / "late"), work(tmp_path / "newer")
    with kept_elsewhere(store, attempt(1), late):
        with kept_elsewhere(store, attempt(2), newer):
            save(newer, 8)
        save(late, 90)

    third = work(tmp_path / "third")
    with kept_elsewhere(store, attempt(3), third):
        found = steps(third)

    assert found == ["checkpoint-8"]


def test_with_artifacts_in_a_folder_nothing_is_copied(tmp_path: Path) -> None:
    store, folder = FolderStore(tmp_path / "artifacts"), work(tmp_path / "a")

    with kept_elsewhere(store, attempt(1), folder):
        save(folder, 4)

    assert store.newest_checkpoint(RUN_ID) is None
