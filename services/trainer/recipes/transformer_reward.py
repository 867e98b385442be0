"""The transformer reward model: a sequence classifier with one label, learning from everything.

Comparisons, ties, ratings, rankings and corrections are terms of one likelihood
(`services.trainer.transformer`). Texts are tokenised and truncated here, the prompt first, by the
code that also reads pairs when the model is served. A grouped part of the training data picks the
step that is kept: fine-tuning on little feedback overfits within an epoch or two.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from services.trainer.audit.plots import plot_progress
from services.trainer.audit.population import population_of
from services.trainer.backbones import ResolvedBackbone, resolve_backbone
from services.trainer.calibration import fit_calibration
from services.trainer.domain import fit_domain
from services.trainer.evidence import switched_on
from services.trainer.examples import RewardDataset, require_judged
from services.trainer.groups import numbered
from services.trainer.likelihood.terms import level_of
from services.trainer.process import response_metrics
from services.trainer.raters.weights import weigh_raters
from services.trainer.reward_artifact import store_reward
from services.trainer.reward_metrics import Metrics
from services.trainer.reward_params import RewardParams
from services.trainer.self_knowledge import fit_interval
from services.trainer.trained import Progress, TrainedReward, evaluate
from services.trainer.transformer.judgements import (
    Judgement,
    Kind,
    TokenJudgements,
    collect_judgements,
    tokenise,
    validation_split,
)
from shared.contracts.manifest import Backbone, Calibration, Golden, RewardManifest, Truncation
from shared.ml.domain import DOMAIN_FILE, DomainModel
from shared.ml.folders import sha256_of_backbone
from shared.ml.pooled import last_layers
from shared.ml.scorer import Pair
from shared.ml.transformer_scorer import PairTokenizer, TransformerScorer, as_embedded

_FP32_TOLERANCE = 1e-4


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
    the newest whole one, and the folder is removed at the end.

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
    given, dataset = dataset, params.learned_from(dataset)
    require_judged(dataset, params.min_rated)
    population = population_of(params.population)
    heard = switched_on(dataset, params.weights)
    raters = weigh_raters(heard) if params.weigh_raters else None
    judgements = collect_judgements(dataset, params.weights, raters.weights if raters else {})
    kept, held = validation_split(judgements, seed=params.seed)
    progress(0.0, "model", {})
    source = resolve_backbone(params.base_model)
    work = output.with_name(f"{output.name}.checkpoints")
    work.mkdir(parents=True, exist_ok=True)
    tuned = fine_tune(source, kept, held, params, work=work, progress=progress)
    draft = _draft(dataset, params, source, tuned, code_version)
    draft, domain = _with_self_knowledge(draft, dataset, params, tuned=tuned, held=held)
    progress(0.9, "evaluate", {})
    scorer = tuned.scorer(draft, domain)
    evaluation = evaluate(
        scorer,
        dataset,
        good_rating=params.good_rating,
        recipe=tuned.report
        | dict(raters.metrics if raters else {})
        | response_metrics(scorer, given),
        population=population,
    )

    def fill(stage: Path) -> None:
        shutil.copytree(tuned.folder, stage, dirs_exist_ok=True, copy_function=shutil.copyfile)
        if domain is not None:
            (stage / DOMAIN_FILE).write_bytes(domain.to_bytes())
        plot_progress(stage, tuned.history)

    trained = store_reward(output, draft, evaluation, fill=fill, secret=secret)
    shutil.rmtree(work)
    return trained


@dataclass(frozen=True)
class TunedModel:
    """A fine-tuned classifier in memory and, without training state, in a folder."""

    model: Any
    tokenizer: PairTokenizer
    folder: Path
    truncation: Truncation
    separator: str
    report: Metrics
    history: list[dict[str, float]]

    def scorer(
        self, manifest: RewardManifest, domain: DomainModel | None = None
    ) -> TransformerScorer:
        """What scores as `manifest` says."""
        return TransformerScorer(manifest, self.model, self.tokenizer, domain)


def fine_tune(
    source: ResolvedBackbone,
    kept: Sequence[Judgement],
    held: Sequence[Judgement],
    params: TransformerParams,
    *,
    work: Path,
    progress: Progress,
) -> TunedModel:
    """The classifier at the evaluation with the lowest validation loss.

    Args:
        source: where the pretrained weights are.
        kept: judgements to learn from.
        held: judgements that pick the step.
        params: the recipe's parameters.
        work: folder of checkpoints and of the final weights.
        progress: called after each logged step.

    Raises:
        NotEnoughData: no comparison can be told apart within the window.
        ConfigError: the model cannot be trained as asked on this machine.
    """
    import torch

    from services.trainer.transformer.batches import Collator, known_raters
    from services.trainer.transformer.model import RewardLikelihood, Thresholds
    from services.trainer.transformer.opening import Adapting, open_pretrained, plain_model
    from services.trainer.transformer.tuning import tune

    torch.set_num_threads(params.threads)
    adapting = Adapting(
        params.lora_rank, params.four_bit, params.gradient_checkpointing, params.layers
    )
    classifier, processing = open_pretrained(source.folder, adapting, seed=params.seed)
    folder = work / "model"
    processing.save_pretrained(folder)
    truncation = _truncation(params, classifier, processing.model_max_length)
    separator = processing.sep_token or "\n\n"
    tokenizer = PairTokenizer(folder, truncation, separator=separator)
    rows = tokenise(tokenizer, kept), tokenise(tokenizer, held)
    raters = known_raters(rows[0].rows)
    model = RewardLikelihood(
        classifier, Thresholds(len(raters)), centring=params.centring, judgements=len(rows[0].rows)
    )
    tuned = tune(
        model, Collator(processing.pad_token_id, raters), (rows[0].rows, rows[1].rows),
        _schedule(params), head_first=params.head_first, work=work, progress=progress,
    )  # fmt: skip
    plain = plain_model(model.classifier, source.folder, adapting, seed=params.seed)
    plain.save_pretrained(folder)
    report = (
        _report(*rows)
        | model.thresholds.report(kept)
        | {
            "train_loss": tuned.train_loss,
            "validation_loss": tuned.validation_loss,
            "head_only_validation_loss": tuned.head_loss,
        }
    )
    return TunedModel(plain, tokenizer, folder, truncation, separator, report, tuned.history)


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


def _with_self_knowledge(
    draft: RewardManifest,
    dataset: RewardDataset,
    params: TransformerParams,
    *,
    tuned: TunedModel,
    held: Sequence[Judgement],
) -> tuple[RewardManifest, DomainModel | None]:
    """The manifest with what validation judgements say, whose groups were not trained on."""
    groups = {item: one.group for one in held for item in one.items}
    items = list(groups)
    scorer = tuned.scorer(draft)
    found = None
    if len(last_layers(tuned.model)) == 1:
        read, vectors = scorer.rewards_and_vectors(items)
        numbers = numbered([groups[item] for item in items])
        found = fit_domain(as_embedded(vectors), numbers, ("response",), seed=params.seed)
    else:
        read = scorer.score(items).reward
    rewards = dict(zip(items, read.tolist(), strict=True))
    calibration = _calibrate(rewards, held, good_rating=params.good_rating)
    conformal = fit_interval(
        dataset, rewards, calibration, good_rating=params.good_rating, seed=params.seed
    )
    domain, model = found or (None, None)
    known = {"calibration": calibration, "conformal": conformal, "domain": domain}
    return draft.model_copy(update=known), model


def _calibrate(
    rewards: Mapping[Pair, float], held: Sequence[Judgement], *, good_rating: float
) -> Calibration:
    """Platt on the validation judgements."""
    found = list(_good_or_not(held, good_rating))
    if not found:
        return Calibration(slope=1.0, intercept=0.0, method="none")
    return fit_calibration(
        np.array([rewards[item] for item, _ in found]),
        np.array([float(is_good) for _, is_good in found]),
    )


def _good_or_not(held: Sequence[Judgement], good_rating: float) -> Iterator[tuple[Pair, bool]]:
    """Responses that were called good or not, as `calibration.good_labels` has it.

    A rated one is good from `good_rating` on, an unrated one in each comparison that it won.
    """
    rated = {one.items[0] for one in held if one.kind == Kind.RATING}
    for one in held:
        if one.kind == Kind.RATING:
            yield one.items[0], one.level >= max(level_of(good_rating, one.scale), 1)
        elif one.kind in (Kind.WIN, Kind.RANKING):
            for sides in combinations(one.items, 2):
                for item, is_good in zip(sides, (True, False), strict=True):
                    if item not in rated:
                        yield item, is_good


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
        template="pair",
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
        golden=Golden(rows=120, tolerance=_FP32_TOLERANCE),
        files={},
    )
