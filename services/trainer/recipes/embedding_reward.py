"""The embedding reward model: a frozen encoder and a linear head, trained in seconds.

Two modes. `original` is the recipe the first users described: one embedding of
`prompt + " </s> " + response`, a balanced logistic regression on rating >= 4. `default` embeds
prompt and response separately and learns from all that people said in one likelihood.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from services.trainer.audit.learning import RememberingEncoder
from services.trainer.audit.population import population_of
from services.trainer.backbones import ResolvedBackbone, resolve_backbone
from services.trainer.domain import fit_domain, sample_rows
from services.trainer.embedding_head import (
    FittedReward,
    describe,
    finish_default,
    fit_original,
    fit_rewards,
)
from services.trainer.engines import Engine, open_for_fitting
from services.trainer.evidence import (
    Items,
    RatingsAs,
    collect_items,
    switched_on,
)
from services.trainer.examples import RatedResponse, RewardDataset, require_judged
from services.trainer.groups import numbered
from services.trainer.process import response_metrics
from services.trainer.raters.weights import weigh_raters
from services.trainer.reward_artifact import copy_backbone, store_reward
from services.trainer.reward_metrics import Metrics
from services.trainer.reward_params import RewardParams
from services.trainer.self_knowledge import fit_interval
from services.trainer.trained import Progress, TrainedReward, evaluate
from shared.contracts.manifest import Backbone, Feature, RewardManifest, Truncation
from shared.ml.domain import DOMAIN_FILE, DomainModel, Part
from shared.ml.encoder import Encoder
from shared.ml.golden import FP32_GOLDEN
from shared.ml.head import HEAD_FILE, Embedded, join_embedded
from shared.ml.posterior import POSTERIOR_FILE
from shared.ml.quantised import write_ranges
from shared.ml.scorer import EmbeddingScorer, Pair, PairReader

JOINT = " </s> "

_CHUNK = 256


class EmbeddingParams(RewardParams):
    """What `heed train embedding` can be told."""

    mode: Literal["default", "original"] = Field(
        "default", description="`original` is the joint-embedding logistic regression."
    )
    base_model: str = Field("all-MiniLM-L6-v2", description="Encoder: a name, hub id or folder.")
    engine: Engine = Field(
        "fp32", description="`int8`: fit on eight-bit numbers, a third faster to serve than bf16."
    )
    test_share: float = Field(0.12, gt=0, lt=1, description="Row split of the original mode.")
    prompt_tokens: int = Field(256, ge=8, description="Window of the prompt, cut from the left.")
    response_tokens: int = Field(256, ge=8, description="Window of the response.")
    views: bool = Field(
        True, description="Read responses inside the encoder rather than at its end."
    )
    surface: bool = Field(True, description="Use the response's form, such as whether it asks.")
    overlap: bool = Field(True, description="Use the words shared by prompt and response.")
    product: bool = Field(True, description="Use the prompt × response feature.")
    length: bool = Field(False, description="Use the response's log length.")
    lexical: bool = Field(True, description="Add a model of the response's words.")
    ratings_as: RatingsAs = Field(
        "levels", description="`levels`: as given; `pairs`: as comparisons wherever there are two."
    )


def train(
    dataset: RewardDataset,
    params: EmbeddingParams,
    *,
    output: Path,
    secret: bytes,
    progress: Progress,
    code_version: str,
) -> TrainedReward:
    """Train on a dataset's train side, judge on its test side, and store the artifact.

    Args:
        dataset: comparisons and ratings, split by prompt group.
        params: the recipe's parameters.
        output: the artifact folder, which must not exist.
        secret: the deployment's signing secret.
        progress: called with the fraction done, the stage, and numbers to show.
        code_version: stored in the manifest.

    Raises:
        NotEnoughData: there is too little feedback, or none that can be trained on.
        InvalidInput: the population table is wrong.
        ConfigError: the encoder is not to be had.
        ArtifactError: the encoder is unsafe, or the folder cannot be written.
    """
    given, dataset = dataset, params.learned_from(dataset)
    require_judged(dataset, params.min_rated)
    population = population_of(params.population)
    progress(0.0, "encoder", {})
    source = resolve_backbone(params.base_model)
    opened, ranges = open_for_fitting(
        source.folder, _items(dataset, params, {}).pairs,
        engine=params.engine, threads=params.threads,
    )  # fmt: skip
    encoder = RememberingEncoder(opened)
    fitted = train_embedding_reward(dataset, params, encoder, progress=progress)
    draft = _draft(
        dataset, params, source=source, encoder=encoder, fitted=fitted, code_version=code_version
    )
    draft, domain = _with_self_knowledge(draft, dataset, params, encoder=encoder, fitted=fitted)
    progress(0.85, "evaluate", {})
    scorer = EmbeddingScorer(draft, encoder, fitted.head, domain)

    def refit(part: RewardDataset) -> EmbeddingScorer:
        again = train_embedding_reward(part, params, encoder, progress=lambda *_: None)
        return EmbeddingScorer(draft, encoder, again.head)

    evaluation = evaluate(
        scorer,
        dataset,
        good_rating=params.good_rating,
        recipe=fitted.report | response_metrics(scorer, given),
        refit=refit,
        population=population,
    )

    def fill(stage: Path) -> None:
        (stage / HEAD_FILE).write_bytes(fitted.head.to_bytes())
        if ranges is not None:
            write_ranges(stage, ranges)
        if domain is not None:
            (stage / DOMAIN_FILE).write_bytes(domain.to_bytes())
        if fitted.posterior is not None:
            (stage / POSTERIOR_FILE).write_bytes(fitted.posterior.to_bytes())
        if not source.is_installed:
            copy_backbone(source.folder, stage / "encoder")

    progress(0.9, "store", {})
    return store_reward(output, draft, evaluation, fill=fill, secret=secret)


def train_embedding_reward(
    dataset: RewardDataset, params: EmbeddingParams, encoder: Encoder, *, progress: Progress
) -> FittedReward:
    """The fitted head of either mode from the train side of a dataset; writes nothing.

    Raises:
        NotEnoughData: there is nothing to tell good from bad.
    """
    truncation = _truncation(params, encoder)
    if params.mode == "original":
        rated = rated_rows(dataset)
        reader = PairReader(encoder, truncation, separator=JOINT)
        pairs = [Pair(one.prompt, one.response) for one in rated]
        return fit_original(
            _embed(reader, pairs, progress), [one.rating for one in rated],
            numbered([one.group for one in rated]),
            good_rating=params.good_rating, test_share=params.test_share, seed=params.seed,
        )  # fmt: skip
    items = _items(dataset, params, {})
    features, reader = _features(params), PairReader(encoder, truncation, separator=None)
    described = describe(_embed(reader, items.pairs, progress), features)
    progress(0.7, "fit", {"items": len(items.pairs), "evidence": len(items.evidence)})
    fit = fit_rewards(described, items, seed=params.seed)
    of_raters: Metrics = {}
    if params.weigh_raters:
        rewards = dict(zip(items.pairs[: items.overall], fit.rewards, strict=True))
        found = weigh_raters(switched_on(dataset, params.weights), rewards=rewards)
        of_raters = dict(found.metrics)
        if min(found.weights.values(), default=1.0) < 1.0:
            progress(0.8, "fit", {"raters": len(found.weights)})
            items, near = _items(dataset, params, found.weights), fit.dense.around
            fit = fit_rewards(described, items, seed=params.seed, search=near)
    fitted = finish_default(fit, items, features, good_rating=params.good_rating, seed=params.seed)
    return replace(fitted, report=fitted.report | of_raters)


def _items(dataset: RewardDataset, params: EmbeddingParams, trust: Mapping[str, float]) -> Items:
    """What the train side says, each rater with a weight; no weight is 0, so no item is lost."""
    return collect_items(
        dataset.train_pairs, dataset.train_rated, dataset.train_ties, dataset.train_rankings,
        aspects=dataset.train_aspects, weights=params.weights, rater_weights=trust,
        ratings_as=params.ratings_as,
    )  # fmt: skip


def _with_self_knowledge(
    draft: RewardManifest,
    dataset: RewardDataset,
    params: EmbeddingParams,
    *,
    encoder: Encoder,
    fitted: FittedReward,
) -> tuple[RewardManifest, DomainModel | None]:
    """The manifest with interval, domain and aspects; the encoder remembers most of the sample."""
    if params.mode == "original":
        rated = rated_rows(dataset)
        pairs = [Pair(one.prompt, one.response) for one in rated]
        groups = numbered([one.group for one in rated])
        reader = PairReader(encoder, draft.truncation, separator=JOINT)
        parts: tuple[Part, ...] = ("response",)
    else:
        items = _items(dataset, params, {})
        pairs, groups = items.pairs[: items.overall], items.groups[: items.overall]
        reader = PairReader(encoder, draft.truncation, separator=None)
        parts = ("prompt", "response")
    rows = sample_rows(groups, seed=params.seed)
    embedded = _embed(reader, [pairs[at] for at in rows], _quietly)
    found = fit_domain(embedded, groups[rows], parts, seed=params.seed)
    rewards = dict(zip(pairs, fitted.rewards.tolist(), strict=False))  # or none
    conformal = fit_interval(
        dataset, rewards, draft.calibration, good_rating=params.good_rating, seed=params.seed
    )
    known = {"conformal": conformal, "aspects": tuple(fitted.head.aspects)}
    if found is None:
        return draft.model_copy(update=known), None
    return draft.model_copy(update=known | {"domain": found[0]}), found[1]


def _quietly(_fraction: float, _stage: str, _numbers: dict[str, float]) -> None:
    """Tell nobody."""


def rated_rows(dataset: RewardDataset) -> list[RatedResponse]:
    """What the original recipe learns from: ratings, or else comparisons as 5 and 1 stars."""
    if dataset.train_rated:
        return list(dataset.train_rated)
    return [
        RatedResponse(side.prompt, side.response, stars, pair.group, "".join(pair.row_ids))
        for pair in dataset.train_pairs
        for side, stars in zip(pair.sides, (5.0, 1.0), strict=True)
    ]


def _embed(reader: PairReader, pairs: list[Pair], progress: Progress) -> Embedded:
    parts = []
    for start in range(0, len(pairs), _CHUNK):
        parts.append(reader.read(pairs[start : start + _CHUNK]).embedded)
        progress(0.05 + 0.65 * start / len(pairs), "embed", {"done": start, "of": len(pairs)})
    return join_embedded(parts)


def _features(params: EmbeddingParams) -> tuple[Feature, ...]:
    wanted: dict[Feature, bool] = {
        "response": not params.views,
        "middle": params.views,
        "peak": params.views,
        "surface": params.surface,
        "overlap": params.overlap,
        "product": params.product,
        "length": params.length,
        "lexical": params.lexical,
    }
    return tuple(feature for feature, is_used in wanted.items() if is_used)


def _truncation(params: EmbeddingParams, encoder: Encoder) -> Truncation:
    if params.mode == "original":
        return Truncation(prompt_tokens=0, response_tokens=encoder.max_tokens)
    return Truncation(
        prompt_tokens=min(params.prompt_tokens, encoder.max_tokens),
        response_tokens=min(params.response_tokens, encoder.max_tokens),
    )


def _draft(
    dataset: RewardDataset,
    params: EmbeddingParams,
    *,
    source: ResolvedBackbone,
    encoder: Encoder,
    fitted: FittedReward,
    code_version: str,
) -> RewardManifest:
    is_joined = params.mode == "original"
    return RewardManifest(
        kind="embedding",
        mode=params.mode,
        template="joined" if is_joined else "separate",
        separator=JOINT if is_joined else "",
        features=fitted.head.features,
        truncation=_truncation(params, encoder),
        backbone=Backbone(
            name=source.name,
            revision=source.revision,
            sha256=encoder.sha256,
            path=None if source.is_installed else "encoder",
            engine=encoder.engine,
            dim=encoder.dim,
        ),
        calibration=fitted.calibration,
        process=params.process,
        metrics={},
        parameters=params.model_dump() | {"base_model": source.name},
        dataset_snapshot=dataset.snapshot_hash,
        code_version=code_version,
        created_at=datetime.now(UTC),
        golden=FP32_GOLDEN,
        files={},
    )
