import json
from pathlib import Path
from uuid import uuid4

import pytest
import torch
from support.tiny_bert import save_tiny_bert
from transformers import (
    AutoModelForSequenceClassification,
    BertModel,
    TrainerControl,
    TrainerState,
)

from services.trainer.backbones import resolve_backbone
from services.trainer.callbacks import StepsWithinEpochs
from services.trainer.checkpoints import newest_whole_checkpoint
from services.trainer.examples import (
    PreferencePair,
    RankedResponses,
    RatedResponse,
    RewardDataset,
    TiedPair,
)
from services.trainer.recipes.transformer_reward import (
    TransformerParams,
    fine_tune,
    train,
)
from services.trainer.reward_metrics import pair_margins
from services.trainer.trained import TrainedReward
from services.trainer.training import train_reward_model
from services.trainer.transformer.judgements import (
    collect_judgements,
    tokenise,
    validation_split,
)
from shared.contracts.manifest import Truncation
from shared.db import embedded
from shared.db.migrate import upgrade
from shared.errors import ConfigError, NotEnoughData
from shared.ml.artifact import load_scorer
from shared.ml.scorer import Pair
from shared.ml.windows import PairTokenizer

SECRET = b"a secret of at least thirty-two bytes"
SMALL = TransformerParams(
    epochs=4, batch_size=4, learning_rate=3e-3, max_tokens=24, min_rated=10, logging_steps=2,
    head_first=False, evaluations_per_epoch=1, patience=9,
)  # fmt: skip


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("tiny bert"))


@pytest.fixture
def dataset() -> RewardDataset:
    def pair(at: int) -> PreferencePair:
        prompt = f"what is the {'sky' if at % 2 else 'sea'} {' one' * (at % 5)}"
        tail = " and" * (at % 3)
        return PreferencePair(prompt, f"kind{tail}", f"rude{tail}", group=f"group {at}")

    pairs = [pair(at) for at in range(60)]
    return RewardDataset(pairs[:48], pairs[48:], [], [], "sha256:test")


def test_training_moves_weights_lowers_the_loss_and_scores_alike_after_loading(
    tiny_bert: Path, dataset: RewardDataset, tmp_path: Path
) -> None:
    losses = []
    trained = train(
        dataset,
        SMALL.model_copy(update={"base_model": str(tiny_bert)}),
        output=tmp_path / "model",
        secret=SECRET,
        progress=lambda _done, _stage, numbers: losses.append(numbers.get("loss")),
        code_version="test",
    )
    scorer = load_scorer(tmp_path / "model", secret=SECRET)

    seen = [loss for loss in losses if loss is not None]
    assert seen[-1] < seen[0] / 2
    before = BertModel.from_pretrained(tiny_bert).encoder.layer[0].output.dense.weight
    after = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert not torch.allclose(before, after.bert.encoder.layer[0].output.dense.weight)
    assert trained.metrics["pair_accuracy"] == 1.0
    assert abs(pair_margins(scorer, dataset.test_pairs) - trained.test_margins).max() <= 1e-6


def test_the_artifact_holds_no_pickle(
    tiny_bert: Path, dataset: RewardDataset, tmp_path: Path
) -> None:
    train(
        dataset,
        SMALL.model_copy(update={"base_model": str(tiny_bert), "epochs": 1}),
        output=tmp_path / "model",
        secret=SECRET,
        progress=lambda *_: None,
        code_version="test",
    )

    names = {path.name for path in (tmp_path / "model").rglob("*")}
    assert {"model.safetensors", "reward_model.json", "training_progress.png"} <= names
    assert "training_args.bin" not in names


def test_a_stopped_run_goes_on_from_its_newest_whole_checkpoint(
    tiny_bert: Path, dataset: RewardDataset, tmp_path: Path
) -> None:
    params = SMALL.model_copy(update={"base_model": str(tiny_bert)})

    def train_into(name: str, stop_after: float) -> list[float]:
        epochs: list[float] = []

        def progress(_done: float, _stage: str, numbers: dict[str, float]) -> None:
            epochs.append(numbers.get("epoch", 0.0))
            if numbers.get("epoch", 0.0) > stop_after:
                raise KeyboardInterrupt

        train(
            dataset, params, output=tmp_path / name, secret=SECRET, progress=progress,
            code_version="test",
        )  # fmt: skip
        return [epoch for epoch in epochs if epoch]

    with pytest.raises(KeyboardInterrupt):
        train_into("stopped", stop_after=1.2)
    resumed = train_into("stopped", stop_after=99)
    train_into("whole", stop_after=99)

    assert min(resumed) > 1
    pairs = [Pair("what is the sky", "kind and"), Pair("what is the sea", "rude")]
    rewards = [
        load_scorer(tmp_path / name, secret=SECRET).score(pairs).reward
        for name in ("stopped", "whole")
    ]
    assert abs(rewards[0] - rewards[1]).max() <= 1e-5


def test_a_run_that_was_killed_after_its_training_is_not_trained_anew(
    tiny_bert: Path, dataset: RewardDataset, tmp_path: Path
) -> None:
    params = SMALL.model_copy(update={"base_model": str(tiny_bert), "epochs": 2})

    def train_into(folder: Path, *, is_killed: bool) -> list[float]:
        losses: list[float] = []

        def progress(_done: float, stage: str, numbers: dict[str, float]) -> None:
            if is_killed and stage == "evaluate":
                raise KeyboardInterrupt
            losses.extend(numbers[name] for name in ("loss",) if name in numbers)

        train(dataset, params, output=folder, secret=SECRET, progress=progress, code_version="test")
        return losses

    with pytest.raises(KeyboardInterrupt):
        train_into(tmp_path / "killed", is_killed=True)
    again = train_into(tmp_path / "killed", is_killed=False)
    calm = train_into(tmp_path / "calm", is_killed=False)

    assert (len(again), len(calm) > 0) == (0, True)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("killed", "calm")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("rhythm", "expected"),
    [
        ({}, [10, 20]),
        ({"eval_steps": 4, "save_steps": 7}, [4, 8, 10, 12, 16, 20]),
        ({"evaluations_per_epoch": 3}, [4, 8, 10, 12, 16, 20]),
    ],
)
def test_it_is_evaluated_every_so_many_steps_and_after_each_epoch_and_the_best_is_kept(
    tiny_bert: Path, dataset: RewardDataset, tmp_path: Path, rhythm: dict, expected: list[int]
) -> None:
    given = {"base_model": str(tiny_bert), "epochs": 2, **rhythm}
    kept, held = validation_split(collect_judgements(dataset), seed=1)
    params = SMALL.model_copy(update=given)
    source = resolve_backbone(str(tiny_bert))

    tuned = fine_tune(source, kept[:40], held, params, work=tmp_path, progress=lambda *_: None)

    losses = {entry["step"]: entry["eval_loss"] for entry in tuned.history if "eval_loss" in entry}
    best = min(losses, key=losses.__getitem__)
    assert list(losses) == expected
    assert tuned.report["validation_loss"] == losses[best]
    assert (tmp_path / f"checkpoint-{best}" / "model.safetensors").exists()


@pytest.mark.parametrize(("loss", "is_saved"), [(0.4, True), (0.6, False)])
def test_an_evaluation_is_saved_between_two_checkpoints_if_it_is_the_best_so_far(
    loss: float, is_saved: bool
) -> None:
    control = TrainerControl()

    StepsWithinEpochs(eval_steps=4, save_steps=7).on_evaluate(
        None, TrainerState(best_metric=0.5), control, metrics={"eval_loss": loss}
    )

    assert control.should_save is is_saved


def test_the_python_function_stops_the_postgres_it_started(
    tiny_bert: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(embedded.start(data_dir).url())
    embedded.stop(data_dir)
    monkeypatch.setenv("HEED_DATA_DIR", str(data_dir))
    monkeypatch.delenv("HEED_DATABASE_URL", raising=False)
    lines = [
        {"prompt": f"what is {uuid4()}", "chosen": "kind", "rejected": "rude"} for at in range(60)
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    finished = train_reward_model(str(tiny_bert), path, tmp_path / "model", epochs=1)

    assert finished.version.version == 1
    assert (tmp_path / "model" / "model.safetensors").exists()
    assert embedded.attach(data_dir) is None


def test_a_half_written_checkpoint_is_passed_over(tmp_path: Path) -> None:
    for step, state in ((10, json.dumps({})), (20, '{"epoch":')):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(state)
        for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
            (folder / name).touch()

    assert newest_whole_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")


def test_pairs_that_look_the_same_in_the_window_are_dropped_and_counted(tiny_bert: Path) -> None:
    tokenizer = PairTokenizer(
        tiny_bert, Truncation(prompt_tokens=0, response_tokens=6), separator="[SEP]"
    )
    same = PreferencePair("what", "one one one one", "one one one two", group="a")
    other = PreferencePair("what", "kind and kind and", "rude", group="b")
    judgements = collect_judgements(RewardDataset([same, other], [], [], [], "sha256:test"))

    read = tokenise(tokenizer, judgements)

    assert (read.dropped, len(read.rows), read.truncated) == (1, 1, 1)


def trained_on(
    dataset: RewardDataset, folder: Path, tiny_bert: Path, **given: object
) -> TrainedReward:
    return train(
        dataset,
        SMALL.model_copy(update={"base_model": str(tiny_bert), **given}),
        output=folder,
        secret=SECRET,
        progress=lambda *_: None,
        code_version="test",
    )


def polite_margin(folder: Path) -> float:
    scores = load_scorer(folder, secret=SECRET).score(
        [Pair("what is the sky", "kind and of"), Pair("what is the sky", "rude and of")]
    )
    return float(scores.reward[0] - scores.reward[1])


def test_ratings_of_different_prompts_are_enough_to_learn_from(
    tiny_bert: Path, tmp_path: Path
) -> None:
    said = [("kind", 4.0), ("rude", 2.0), ("kind and", 5.0), ("rude and", 1.0), ("rude", 1.0)]
    rated = [
        RatedResponse(f"what is {'one ' * (at % 4)}", *said[at % 5], f"g{at}", str(at), rater="r_1",
                      scale="thumbs" if at % 5 < 2 else "stars")
        for at in range(60)
    ]  # fmt: skip
    dataset = RewardDataset([], [], rated[:48], rated[48:], "sha256:test")

    trained = trained_on(dataset, tmp_path / "model", tiny_bert, epochs=10)

    assert polite_margin(tmp_path / "model") > 1
    assert trained.metrics["rated_auc"] == 1.0


def test_ties_and_rankings_teach_as_well_as_pairs_do(tiny_bert: Path, tmp_path: Path) -> None:
    rankings = [
        RankedResponses("what is the sky", ("kind of", "one of", "rude of"), f"r{at}", str(at))
        for at in range(30)
    ]
    ties = [TiedPair("what is the sea", ("kind", "kind and"), "tie", f"t{at}", str(at))
            for at in range(10)]  # fmt: skip
    pairs = [PreferencePair(text, "kind of", "rude of", text) for text in ("the sky", "the sea")]
    dataset = RewardDataset(
        pairs, [], [], [], "sha256:test", train_rankings=rankings, train_ties=ties
    )

    trained_on(dataset, tmp_path / "model", tiny_bert, min_rated=1)

    scorer = load_scorer(tmp_path / "model", secret=SECRET)
    best, middle, worst, tied = scorer.score(
        [Pair("what is the sky", text) for text in ("kind of", "one of", "rude of", "kind and of")]
    ).reward
    assert best > middle > worst
    assert abs(best - tied) < best - worst


def test_training_that_diverges_is_refused_with_what_to_do(
    tiny_bert: Path, dataset: RewardDataset, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="lower learning_rate"):
        trained_on(dataset, tmp_path / "model", tiny_bert, epochs=1, learning_rate=1e30)


def test_feedback_that_is_switched_off_is_not_learned_from(dataset: RewardDataset) -> None:
    params = TransformerParams(preference_weight=0)

    with pytest.raises(NotEnoughData, match="switched off"):
        validation_split(collect_judgements(dataset, params.weights), seed=1)


def test_derived_pairs_are_left_out_and_raters_weigh_what_they_are_trusted() -> None:
    pairs = [
        PreferencePair("p", "a", "b", group="g", source="rating", row_ids=("1", "2")),
        PreferencePair("p", "a", "c", group="g", weight=2.0, rater="r_1"),
        PreferencePair("p", "a", "d", group="g", source="correction", rater="r_2"),
    ]
    rated = [RatedResponse("p", "a", 5.0, "g", "1", rater="r_1")]

    found = collect_judgements(
        RewardDataset(pairs, [], rated, [], "sha256:test"), rater_weights={"r_1": 0.25}
    )

    assert [(one.weight, one.level) for one in found] == [(0.5, 0), (1.0, 0), (0.25, 4)]


def test_the_fitted_last_layer_is_kept_when_fine_tuning_makes_nothing_better(
    tiny_bert: Path, dataset: RewardDataset, tmp_path: Path
) -> None:
    trained = trained_on(
        dataset, tmp_path / "model", tiny_bert, head_first=True, learning_rate=3.0, epochs=1
    )

    after = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    before = BertModel.from_pretrained(tiny_bert).encoder.layer[0].output.dense.weight
    assert trained.metrics["validation_loss"] == trained.metrics["head_only_validation_loss"]
    assert torch.equal(before, after.bert.encoder.layer[0].output.dense.weight)
    assert polite_margin(tmp_path / "model") > 0


def test_the_fitted_last_layer_scores_validation_as_the_whole_model_does(
    tiny_bert: Path, dataset: RewardDataset, tmp_path: Path
) -> None:
    source = resolve_backbone(str(tiny_bert))
    kept, held = validation_split(collect_judgements(dataset), seed=1)
    params = SMALL.model_copy(update={"head_first": True, "learning_rate": 3.0, "epochs": 1})

    tuned = fine_tune(source, kept, held, params, work=tmp_path, progress=lambda *_: None)

    windows = tuned.tokenizer.windows([item for one in held for item in one.items])
    with torch.no_grad():
        rewards = [float(tuned.model(torch.tensor([one.ids])).logits) for one in windows]
    margins = torch.tensor(rewards[0::2]) - torch.tensor(rewards[1::2])
    expected = -torch.nn.functional.logsigmoid(margins).mean()
    assert tuned.report["head_only_validation_loss"] == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # of peft
@pytest.mark.parametrize(
    "given",
    [
        {"lora_rank": 2, "head_first": True},
        {"gradient_checkpointing": True, "gradient_accumulation": 2},
        {"bf16": True},
    ],
)
def test_what_saves_memory_ends_in_a_plain_fp32_model(
    tiny_bert: Path, dataset: RewardDataset, tmp_path: Path, given: dict
) -> None:
    trained = trained_on(dataset, tmp_path / "model", tiny_bert, epochs=3, **given)

    plain, loading = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "model", output_loading_info=True
    )
    assert plain.dtype == torch.float32
    assert not loading["unexpected_keys"]
    assert not loading["missing_keys"]
    assert trained.metrics["pair_accuracy"] == 1.0


def test_four_bits_without_a_gpu_are_refused_with_what_to_do(
    tiny_bert: Path, dataset: RewardDataset, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="NVIDIA GPU"):
        trained_on(dataset, tmp_path / "model", tiny_bert, lora_rank=4, four_bit=True)
