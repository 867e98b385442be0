"""A run that was stopped anywhere and taken up again ends as one that was never stopped."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_bert import save_tiny_bert

from services.trainer.backbones import resolve_backbone
from services.trainer.examples import PreferencePair, RewardDataset
from services.trainer.recipes.transformer_reward import TransformerParams, TunedModel, fine_tune
from services.trainer.shared_checkpoints import kept_elsewhere
from services.trainer.transformer.judgements import (
    Judgement,
    collect_judgements,
    validation_split,
)
from services.trainer.work_folders import LEARNED_FROM
from shared.db.tables import TrainingRun
from shared.ids import new_id
from shared.ml.scorer import Pair
from tests.support.s3 import Place

WORDS = ("kind", "rude", "and", "of", "one", "two", "sky", "sea")


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> TransformerParams:
    folder = save_tiny_bert(tmp_path_factory.mktemp("tiny bert"))
    return TransformerParams(
        base_model=str(folder), epochs=4, batch_size=4, learning_rate=3e-3, max_tokens=24,
        logging_steps=1, save_steps=3, evaluations_per_epoch=4, patience=3, head_first=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def judged() -> tuple[list[Judgement], list[Judgement]]:
    """Responses of chance that were chosen by chance: there is nothing to learn for long."""
    draw = np.random.default_rng(0)

    def text() -> str:
        return " ".join(draw.choice(WORDS, size=draw.integers(1, 9)))

    pairs = [PreferencePair(f"what is {text()}", text(), text(), f"g{at}") for at in range(40)]
    return validation_split(
        collect_judgements(RewardDataset(pairs, [], [], [], "sha256:test")), seed=1
    )


def tuned_in(
    work: Path,
    judged: tuple[list[Judgement], list[Judgement]],
    params: TransformerParams,
    *,
    stop_after: float = 99.0,
    remember: Sequence[Pair] = (),
) -> tuple[TunedModel, list[float]]:
    """What a run in this folder ends with, and the epochs of which it reported a loss."""
    epochs: list[float] = []

    def progress(_done: float, _stage: str, numbers: dict[str, float]) -> None:
        if "loss" in numbers:
            epochs.append(numbers["epoch"])
        if numbers.get("epoch", 0.0) >= stop_after:
            raise KeyboardInterrupt

    work.mkdir(exist_ok=True)
    source = resolve_backbone(params.base_model)
    tuned = fine_tune(source, *judged, params, work=work, progress=progress, remember=remember)
    return tuned, epochs


def evaluations(tuned: TunedModel) -> list[tuple[float, float]]:
    return [(one["step"], one["eval_loss"]) for one in tuned.history if "eval_loss" in one]


def assert_same(found: TunedModel, expected: TunedModel) -> None:
    pairs = zip(found.model.parameters(), expected.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert evaluations(found) == evaluations(expected)
    assert found.report["validation_loss"] == expected.report["validation_loss"]


def test_within_an_epoch_it_goes_on_with_the_batches_that_are_left(
    tmp_path: Path, judged: Sequence, params: TransformerParams
) -> None:
    given = {"gradient_accumulation": 2, "patience": 99, "epochs": 2}
    params = params.model_copy(update=given)
    whole, _ = tuned_in(tmp_path / "whole", judged, params)

    with pytest.raises(KeyboardInterrupt):
        tuned_in(tmp_path / "stopped", judged, params, stop_after=1.7)
    resumed, epochs = tuned_in(tmp_path / "stopped", judged, params)

    assert 1.0 < min(epochs) < 2.0
    assert_same(resumed, whole)


def test_how_long_nothing_has_become_better_is_remembered(
    tmp_path: Path, judged: Sequence, params: TransformerParams
) -> None:
    params = params.model_copy(update={"head_first": True})
    whole, epochs = tuned_in(tmp_path / "whole", judged, params)
    last = max(epochs)
    assert last < params.epochs  # or else it did not end for want of gains

    with pytest.raises(KeyboardInterrupt):
        tuned_in(tmp_path / "stopped", judged, params, stop_after=last)
    resumed, _ = tuned_in(tmp_path / "stopped", judged, params)

    assert_same(resumed, whole)


@pytest.mark.parametrize("given", [{"epochs": 1}, {"head_first": True}], ids=["whole", "early"])
def test_a_run_that_was_at_its_end_learns_no_further(
    tmp_path: Path, judged: Sequence, params: TransformerParams, given: dict
) -> None:
    params = params.model_copy(update=given)
    remember = [item for one in judged[0][:5] for item in one.items]
    whole, _ = tuned_in(tmp_path / "run", judged, params, remember=remember)

    again, epochs = tuned_in(tmp_path / "run", judged, params, remember=remember)

    assert epochs == []
    assert_same(again, whole)
    assert list(whole.untouched) == remember
    assert all(np.array_equal(again.untouched[one], whole.untouched[one]) for one in remember)


def test_a_run_that_was_at_its_end_is_found_in_a_folder_that_was_moved(
    tmp_path: Path, judged: Sequence, params: TransformerParams
) -> None:
    whole, _ = tuned_in(tmp_path / "here", judged, params)
    (tmp_path / "here").rename(tmp_path / "there")

    resumed, epochs = tuned_in(tmp_path / "there", judged, params)

    assert epochs == []
    assert_same(resumed, whole)


def test_the_best_weights_are_kept_when_another_machine_goes_on(
    tmp_path: Path, judged: Sequence, params: TransformerParams, s3: Place
) -> None:
    whole, epochs = tuned_in(tmp_path / "whole", judged, params)
    losses = dict(evaluations(whole))
    assert min(losses, key=losses.__getitem__) < max(losses)  # the last weights are others
    run_id = new_id()

    def attempt(number: int, stop_after: float) -> TunedModel:
        folder = tmp_path / f"machine {number}"
        folder.mkdir()
        (folder / LEARNED_FROM).write_text("sha256:test")
        run = TrainingRun(id=run_id, kind="reward_transformer", params={}, attempt=number)
        with kept_elsewhere(s3.store(folder / "copies"), run, folder):
            work = folder / "model.checkpoints"
            return tuned_in(work, judged, params, stop_after=stop_after)[0]

    with pytest.raises(KeyboardInterrupt):
        attempt(1, max(epochs))
    shutil.rmtree(tmp_path / "machine 1")
    resumed = attempt(2, 99)

    assert_same(resumed, whole)


def test_what_is_remembered_of_the_untouched_model_changes_nothing_that_is_learned(
    tmp_path: Path, judged: Sequence, params: TransformerParams
) -> None:
    params = params.model_copy(update={"head_first": True, "epochs": 1})
    remember = [item for one in judged[0][:5] for item in one.items]

    found, _ = tuned_in(tmp_path / "remembered", judged, params, remember=remember)
    plain, _ = tuned_in(tmp_path / "plain", judged, params)

    losses = [one.report["head_only_validation_loss"] for one in (found, plain)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert plain.untouched == {}
