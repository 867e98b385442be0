"""Which checkpoints a run goes on from, and what of them goes along to another machine."""

import json
from pathlib import Path

import pytest
import torch

from services.trainer.checkpoints import (
    best_beside,
    name_best_here,
    needed_from,
    newest_whole_checkpoint,
)
from services.trainer.policies.learner import _set_random_state

OF_TWO = ("rng_state_0.pth", "rng_state_1.pth")


def save(
    folder: Path, step: int, *, best: int | None = None, random: tuple[str, ...] = OF_TWO
) -> Path:
    """A checkpoint as transformers leaves it."""
    place = folder / f"checkpoint-{step}"
    place.mkdir(parents=True)
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", *random):
        (place / name).touch()
    named = f"/gone/checkpoint-{best}" if best else None
    state = {"best_global_step": best, "best_model_checkpoint": named, "best_metric": 0.5}
    (place / "trainer_state.json").write_text(json.dumps(state))
    return place


@pytest.mark.parametrize("random", [("rng_state.pth",), OF_TWO], ids=["one", "two"])
def test_a_run_goes_on_from_what_any_number_of_processes_saved(tmp_path: Path, random):
    newest = save(tmp_path, 4, random=random)

    assert newest_whole_checkpoint(tmp_path) == str(newest)


def test_a_checkpoint_without_the_state_of_random_numbers_is_passed_over(tmp_path: Path):
    save(tmp_path, 4, random=())

    assert newest_whole_checkpoint(tmp_path) is None


def test_a_checkpoint_whose_best_weights_are_gone_is_passed_over(tmp_path: Path):
    save(tmp_path, 4, best=4)
    save(tmp_path, 8, best=6)

    assert newest_whole_checkpoint(tmp_path) == str(tmp_path / "checkpoint-4")


def test_the_weights_of_the_best_evaluation_go_along(tmp_path: Path):
    best, newest = save(tmp_path, 4, best=4), save(tmp_path, 8, best=4)

    found = needed_from(newest)

    assert found - set(newest.iterdir()) == {best / "model.safetensors"}
    assert needed_from(best) == set(best.iterdir())


def test_a_checkpoint_from_elsewhere_names_the_best_where_it_lies_now(tmp_path: Path):
    save(tmp_path, 4, best=4)
    newest = save(tmp_path, 8, best=4)

    name_best_here(newest)

    state = json.loads((newest / "trainer_state.json").read_text())
    assert state["best_model_checkpoint"] == str(tmp_path / "checkpoint-4")
    assert (state["best_metric"], best_beside(newest)) == (0.5, tmp_path / "checkpoint-4")


def test_a_process_that_was_not_there_when_ppo_saved_keeps_its_random_numbers():
    saved = {"random.0.cpu": torch.get_rng_state()}
    torch.manual_seed(3)
    expected = torch.get_rng_state()

    _set_random_state(saved, rank=1)

    assert torch.equal(torch.get_rng_state(), expected)
