"""The transformer reward model: a sequence classifier with one label, learning from everything.

Comparisons, ties, ratings, rankings and corrections are terms of one likelihood
(`services.trainer.transformer`). Texts are tokenised and truncated here, the prompt first, by the
code that also reads pairs when the model is served. A grouped part of the training data picks the
step that is kept: fine-tuning on little feedback overfits within an epoch or two.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from services.trainer.audit.learning import FEWEST_COMPARED, Refit, read_for_curve
from services.trainer.audit.plots import plot_progress
from services.trainer.audit.population import population_of
from services.trainer.backbones import ResolvedBackbone, resolve_backbone
from services.trainer.evidence import Items, collect_items, switched_on
from services.trainer.examples import RewardDataset, require_judged
from services.trainer.judging import held_out_comparisons
from services.trainer.launchers import world
from services.trainer.process import response_metrics
from services.trainer.raters.weights import weigh_raters
from services.trainer.reward_artifact import store_reward
from services.trainer.reward_metrics import Metrics
from services.trainer.reward_params import RewardParams
from services.trainer.trained import Progress, TrainedReward, evaluate
from services.trainer.transformer.judgements import (
    Judgement,
    TokenJudgements,
    collect_judgements,
    part_held,
    tokenise,
    validation_split,
)
from services.trainer.transformer.self_knowledge import Learned, know_itself
from services.trainer.transformer.untouched import last_layers_of
from services.trainer.turn_marks import turn_marks
from shared.contracts.manifest import (
    Backbone,
    Calibration,
    RewardManifest,
    Template,
    Truncation,
)
from shared.errors import NotEnoughData
from shared.ml.classifiers import PlainClassifier
from shared.ml.folders import sha256_of_backbone
from shared.ml.golden import FP32_GOLDEN
from shared.ml.head import RewardHead
from shared.ml.last_layer import VECTOR, LastLayer
from shared.ml.pooled import last_layers
from shared.ml.scorer import Pair
from shared.ml.transformer_scorer import TransformerScorer
from shared.ml.windows import WindowTokenizer, open_windows


class TransformerParams(RewardParams):
    """What `heed train reward` can be told."""

    base_model: str = Field("all-MiniLM-L6-v2", description="Model: a name, hub id or folder.")
    epochs: int = Field(3, ge=1, description="Most passes over the training data.")
    batch_size: int = Field(16, ge=1, description="Judgements in one batch and device.")
    gradient_accumulation: int = Field(1, ge=1, description="Batches in one optimizer step.")
    learning_rate: float = Field(5e-5, gt=0, description="Peak of AdamW, after 10 % warm-up.")
    head_first: bool = Field(True, description="Fit the last layer on frozen features first.")
    layers: int = Field(0, ge=0, description="Layers kept from the model's beginning; 0: all.")
    max_tokens: int = Field(256, ge=16, description="Window of prompt and response together.")
    read_prompt: bool = Field(True, description="Show the prompt to the model.")
    template: Literal["chat", "pair"] | None = Field(
        None, description="Unset: `chat` where the model's tokenizer has a chat template."
    )
    centring: float = Field(0.01, ge=0, description="How strongly rewards are kept around zero.")
    logging_steps: int = Field(100, ge=1, description="Optimizer steps between two reports.")
    evaluations_per_epoch: int = Field(4, ge=1, description="Fewest evaluations in an epoch.")
    eval_steps: int = Field(500, ge=1, description="Evaluate at least so often.")
    patience: int = Field(4, ge=1, description="Evaluations without a gain that end the run.")
    save_steps: int = Field(500, ge=1, description="Checkpoint so often, and after each epoch.")
    bf16: bool | None = Field(None, description="Mixed precision; unset: where a GPU has it.")
    gradient_checkpointing: bool = Field(False, description="Half the memory, a third slower.")
    lora_rank: int = Field(0, ge=0, description="Train LoRA adapters of this rank; 0: all.")
    four_bit: bool = Field(False, description="QLoRA: frozen weights in 4 bits; GPU only.")


def train(
    dataset: RewardDataset,
    params: TransformerParams,
    *,
    output: Path,
    secret: bytes,
    progress: Progress,
    code_version: str,
) -> TrainedReward:
    """Fine-tune on a dataset's train side, judge on its test side, and store the artifact.

    Checkpoints lie beside `output` in `<output>.checkpoints`; a run that was killed goes on from
    the newest whole one. They stay for whoever stores the artifact to remove, so that a kill
    before that costs no training.

    Args:
        dataset: what people said, split by prompt group.
        params: the recipe's parameters.
        output: the artifact folder, which must not exist.
        secret: the deployment's signing secret.
        progress: called with the fraction done, the stage, and numbers to show.
        code_version: stored in the manifest.

    Raises:
        NotEnoughData: there is too little feedback, or none on two different prompts.
        InvalidInput: the population table is wrong.
        ConfigError: the model is not to be had, or cannot be trained as asked on this machine.
        ArtifactError: the model is unsafe, or the folder cannot be written.
    """
    beside = partial(train, dataset, params, output=output, code_version=code_version)
    world.hand_out(partial(beside, secret=b""))  # who stores nothing signs nothing
    given, dataset = dataset, params.learned_from(dataset)
    require_judged(dataset, params.min_rated)
    population = population_of(params.population)
    heard = switched_on(dataset, params.weights)
    raters = weigh_raters(heard) if params.weigh_raters else None
    trust = raters.weights if raters else {}
    judgements = collect_judgements(dataset, params.weights, trust)
    kept, validation = validation_split(judgements, seed=params.seed)
    held = part_held(validation, seed=params.seed)
    collect = partial(_items, params=params, trust=trust)
    progress(0.0, "model", {})
    source = resolve_backbone(params.base_model)
    work = output.with_name(f"{output.name}.checkpoints")
    work.mkdir(parents=True, exist_ok=True)
    tuned = fine_tune(
        source, kept, held.choosing, params, work=work, progress=progress,
        remember=_curve_texts(dataset, collect),
    )  # fmt: skip
    draft = _draft(dataset, params, source, tuned, code_version)
    known = know_itself(
        tuned.scorer(draft), tuned.head, Learned(dataset, kept, held, collect),
        good_rating=params.good_rating, seed=params.seed,
    )  # fmt: skip
    draft = draft.model_copy(update=known.fields)
    progress(0.9, "evaluate", {})
    scorer = tuned.scorer(draft, known.last_layer)
    evaluation = evaluate(
        scorer,
        dataset,
        good_rating=params.good_rating,
        recipe=tuned.report
        | known.report
        | dict(raters.metrics if raters else {})
        | response_metrics(scorer, given),
        refit=tuned.refit(draft, collect, seed=params.seed),
        refitted="last_layer",
        population=population,
    )

    def fill(stage: Path) -> None:
        shutil.copytree(tuned.folder, stage, dirs_exist_ok=True, copy_function=shutil.copyfile)
        for name, content in known.files.items():
            (stage / name).write_bytes(content)
        plot_progress(stage, tuned.history)

    return store_reward(output, draft, evaluation, fill=fill, secret=secret)


def _items(
    dataset: RewardDataset, *, params: TransformerParams, trust: Mapping[str, float]
) -> Items:
    return collect_items(
        dataset.train_pairs, dataset.train_rated, dataset.train_ties, dataset.train_rankings,
        aspects=dataset.train_aspects, weights=params.weights, rater_weights=trust,
        ratings_as="levels",
    )  # fmt: skip


def _curve_texts(dataset: RewardDataset, collect: Callable[[RewardDataset], Items]) -> list[Pair]:
    """All that a learning curve of last layers reads; nothing where there will be none."""
    compared = held_out_comparisons(dataset)
    if len(compared) < FEWEST_COMPARED:
        return []
    part, sides = read_for_curve(dataset, compared)
    try:
        items = collect(part)
    except NotEnoughData:
        return []  # a single prompt may have more judgements than the largest part
    return list(dict.fromkeys([*items.pairs[: items.overall], *sides]))


@dataclass(frozen=True)
class TunedModel:
    """A fine-tuned classifier in memory and, without training state, in a folder.

    Attributes:
        untouched: what reached the last layer before training, each of shape (h,).
    """

    model: Any
    tokenizer: WindowTokenizer
    folder: Path
    truncation: Truncation
    separator: str
    report: Metrics
    history: list[dict[str, float]]
    untouched: dict[Pair, NDArray[np.float32]] = field(default_factory=dict)
    template: Template = "pair"

    def scorer(
        self, manifest: RewardManifest, last_layer: LastLayer | None = None
    ) -> TransformerScorer:
        """What scores as `manifest` says."""
        return TransformerScorer(manifest, PlainClassifier(self.model), self.tokenizer, last_layer)

    @property
    def head(self) -> RewardHead | None:
        """The last layer; None when there is not a single one."""
        found = last_layers(self.model)
        if len(found) != 1:
            return None
        weights = found[0].weight.detach()[0].double().numpy()
        bias = 0.0 if found[0].bias is None else float(found[0].bias.detach()[0])
        return RewardHead(VECTOR, weights, bias)

    def refit(
        self, manifest: RewardManifest, collect: Callable[[RewardDataset], Items], *, seed: int
    ) -> Refit | None:
        """What fits a last layer to the model before training; None without a single one."""
        if self.head is None:
            return None
        return last_layers_of(manifest, self.untouched, collect, seed=seed)


def fine_tune(
    source: ResolvedBackbone,
    kept: Sequence[Judgement],
    held: Sequence[Judgement],
    params: TransformerParams,
    *,
    work: Path,
    progress: Progress,
    remember: Sequence[Pair] = (),
) -> TunedModel:
    """The classifier at the evaluation with the lowest validation loss.

    Args:
        source: where the pretrained weights are.
        kept: judgements to learn from.
        held: judgements that pick the step.
        params: the recipe's parameters.
        work: folder of checkpoints and of the final weights.
        progress: called after each logged step.
        remember: pairs of which `untouched` is wanted.

    Raises:
        NotEnoughData: no comparison can be told apart within the window.
        ConfigError: the model cannot be trained as asked on this machine.
    """
    import torch

    from services.trainer.transformer.batches import Collator, known_raters
    from services.trainer.transformer.head_first import has_last_layer
    from services.trainer.transformer.model import RewardLikelihood, Thresholds
    from services.trainer.transformer.opening import Adapting, open_pretrained, plain_model
    from services.trainer.transformer.tuning import tune

    torch.set_num_threads(params.threads)
    adapting = Adapting(
        params.lora_rank, params.four_bit, params.gradient_checkpointing, params.layers
    )
    classifier, processing = open_pretrained(source.folder, adapting, seed=params.seed)
    folder = work / "model"
    with world.main_first():
        if world.is_main():
            processing.save_pretrained(folder)
    truncation = _truncation(params, classifier, processing.model_max_length)
    template = params.template or ("chat" if processing.chat_template else "pair")
    separator = processing.sep_token or "\n\n" if template == "pair" else ""
    tokenizer = open_windows(folder, template, truncation, separator=separator)
    rows = tokenise(tokenizer, kept), tokenise(tokenizer, held)
    raters = known_raters(rows[0].rows)
    read = tokenizer.windows(remember if has_last_layer(classifier) else [])
    windows = dict(zip(remember, (tuple(window.ids) for window in read), strict=False))
    model = RewardLikelihood(
        classifier, Thresholds(len(raters)), centring=params.centring, judgements=len(rows[0].rows)
    )
    tuned = tune(
        model, Collator(processing.pad_token_id, raters), (rows[0].rows, rows[1].rows),
        _schedule(params), head_first=params.head_first,
        remember=list(dict.fromkeys(windows.values())), work=work, progress=progress,
    )  # fmt: skip
    world.leave_the_rest_to_main()
    plain = plain_model(model.classifier, source.folder, adapting, seed=params.seed)
    plain.save_pretrained(folder)
    report = (
        _report(*rows)
        | model.thresholds.report(kept)
        | turn_marks(folder, template)
        | {
            "train_loss": tuned.train_loss,
            "validation_loss": tuned.validation_loss,
            "head_only_validation_loss": tuned.head_loss,
        }
    )
    untouched = {pair: tuned.remembered[ids].numpy() for pair, ids in windows.items()}
    return TunedModel(
        plain, tokenizer, folder, truncation, separator, report, tuned.history, untouched, template
    )


def _truncation(params: TransformerParams, model: Any, most: int) -> Truncation:
    """The window asked for, as far as model and tokenizer go: RoBERTa has places it cannot use."""
    places = getattr(model.config, "max_position_embeddings", None) or params.max_tokens
    window = min(params.max_tokens, places, most)
    return Truncation(prompt_tokens=window if params.read_prompt else 0, response_tokens=window)


def _schedule(params: TransformerParams) -> Any:
    import torch

    from services.trainer.transformer.tuning import Schedule

    can_bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    own = {name: getattr(params, name) for name in Schedule.__dataclass_fields__ if name != "bf16"}
    return Schedule(**own, bf16=can_bf16 if params.bf16 is None else params.bf16)


def _report(kept: TokenJudgements, held: TokenJudgements) -> Metrics:
    return {
        "learned_from": len(kept.rows),
        "validated_on": len(held.rows),
        "judgements_truncated": kept.truncated + held.truncated,
        "pairs_dropped": kept.dropped + held.dropped,
    }


def _draft(
    dataset: RewardDataset,
    params: TransformerParams,
    source: ResolvedBackbone,
    tuned: TunedModel,
    code_version: str,
) -> RewardManifest:
    return RewardManifest(
        kind="transformer",
        mode="transformer",
        template=tuned.template,
        separator=tuned.separator,
        truncation=tuned.truncation,
        backbone=Backbone(
            name=source.name,
            revision=source.revision,
            sha256=sha256_of_backbone(tuned.folder),
            path=".",
            engine="transformers-fp32",
            dim=1,
        ),
        calibration=Calibration(slope=1.0, intercept=0.0, method="none"),
        process=params.process,
        metrics={},
        parameters=params.model_dump() | {"base_model": source.name},
        dataset_snapshot=dataset.snapshot_hash,
        code_version=code_version,
        created_at=datetime.now(UTC),
        golden=FP32_GOLDEN,
        files={},
    )
