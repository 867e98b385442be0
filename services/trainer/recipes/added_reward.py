"""A reward model that was made elsewhere, calibrated and judged on this project's feedback.

Nothing of it is trained. All feedback is new to it, so the train side calibrates its rewards and
gives its intervals, and the test side judges it as it would judge a model of our own.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from services.trainer.audit.held_out import drawn
from services.trainer.audit.population import population_of
from services.trainer.calibration import fit_calibration
from services.trainer.examples import RewardDataset, require_judged
from services.trainer.foreign import AddedParams, Foreign, open_foreign
from services.trainer.reward_artifact import store_reward
from services.trainer.reward_metrics import Metrics
from services.trainer.self_knowledge import fit_interval, said_labels
from services.trainer.trained import Progress, TrainedReward, evaluate
from shared.contracts.audit import CALIBRATED_ON, CARD_FILE, PLAIN_MARKS, CalibratedOn
from shared.contracts.manifest import RewardManifest
from shared.ml.artifact import write_artifact

MOST_CALIBRATED_ON = 2000  # judgements; more say little more, and a large model takes hours


def train(
    dataset: RewardDataset,
    params: AddedParams,
    *,
    output: Path,
    secret: bytes,
    progress: Progress,
    code_version: str,
) -> TrainedReward:
    """Store a model that was made elsewhere, calibrated and judged on a dataset.

    Args:
        dataset: what people said, split by prompt group.
        params: which model, and how it is read.
        output: the artifact folder, which must not exist.
        secret: the deployment's signing secret.
        progress: called with the fraction done, the stage, and numbers to show.
        code_version: stored in the manifest.

    Raises:
        NotEnoughData: there is too little feedback.
        ConfigError: the model is not to be had.
        ArtifactError: it cannot be served, or the folder cannot be written.
    """
    require_judged(dataset, params.min_rated)
    population = population_of(params.population)
    progress(0.0, "model", {})
    with _opened(params, output, code_version) as foreign:
        progress(0.2, "calibration", {})
        draft, report = _calibrated(foreign, dataset, params)
        scorer = foreign.scorer.told_by(draft)
        progress(0.5, "evaluate", {})
        evaluation = evaluate(
            scorer,
            dataset,
            good_rating=params.good_rating,
            recipe=report,
            population=population,
        )
        return store_reward(output, draft, evaluation, fill=foreign.copy_to, secret=secret)


def store_unjudged(
    params: AddedParams, *, output: Path, secret: bytes, code_version: str
) -> RewardManifest:
    """Store a model that was made elsewhere as it is, without any feedback to judge it by.

    Raises:
        ConfigError: the model is not to be had.
        ArtifactError: it cannot be served, or the folder cannot be written.
    """
    with _opened(params, output, code_version) as foreign:
        draft = foreign.draft.model_copy(update={"metrics": _about(foreign)})

        def fill(stage: Path) -> None:
            foreign.copy_to(stage)
            (stage / CARD_FILE).write_text(_card(draft), encoding="utf-8")

        return write_artifact(output, draft, fill=fill, secret=secret)


@contextmanager
def _opened(params: AddedParams, output: Path, code_version: str) -> Iterator[Foreign]:
    aside = output.with_name(f"{output.name}.foreign")
    try:
        yield open_foreign(params, aside, code_version=code_version)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _calibrated(
    foreign: Foreign, dataset: RewardDataset, params: AddedParams
) -> tuple[RewardManifest, Metrics]:
    """The manifest with calibration and intervals of the train side, which the model never saw."""
    said = said_labels(dataset.train_pairs, dataset.train_rated, good_rating=params.good_rating)
    rows = drawn(len(said), MOST_CALIBRATED_ON, seed=params.seed)
    items = list(dict.fromkeys(said.items[at] for at in rows))
    rewards = dict(zip(items, foreign.scorer.score(items).reward.tolist(), strict=True))
    own = np.array([rewards[said.items[at]] for at in rows])
    calibration = fit_calibration(own, said.values[rows])
    conformal = fit_interval(
        dataset, rewards, calibration, good_rating=params.good_rating, seed=params.seed
    )
    known = {
        "calibration": calibration,
        "conformal": conformal,
        "dataset_snapshot": dataset.snapshot_hash,
    }
    on: CalibratedOn = "own_prompts"
    report: Metrics = {
        CALIBRATED_ON: on,
        "calibrated_prompts": len({said.groups[at] for at in rows}),
    }
    return foreign.draft.model_copy(update=known), _about(foreign) | report


def _about(foreign: Foreign) -> Metrics:
    return {"made_elsewhere": "yes", **foreign.marks}


def _card(draft: RewardManifest) -> str:
    """What can be said of a model that nobody's feedback has judged."""
    backbone = draft.backbone
    imitated = (
        "\n- **Warning.** The marks of its chat template are plain text: a response that imitates "
        "them can pretend that somebody else said a part of it.\n"
        if draft.metrics[PLAIN_MARKS] == "yes"
        else ""
    )
    return (
        f"# Reward model ({draft.kind}, {draft.mode})\n\n## What was found\n\n"
        "- **Not known.** It was made elsewhere, and there was too little feedback here to judge "
        "it: how far it agrees with your people is not known. Add it again when there is more.\n"
        "- **Not known.** It is not calibrated: its probability is the sigmoid of its reward.\n"
        f"{imitated}\n"
        f"Model: {backbone.name} (`{backbone.sha256[:12]}`), template {draft.template}, window of "
        f"{draft.truncation.response_tokens} tokens, engine {backbone.engine}, code "
        f"{draft.code_version}, made {draft.created_at:%Y-%m-%d %H:%M} UTC.\n"
    )
