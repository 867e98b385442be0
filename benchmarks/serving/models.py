"""The artifacts that are served: heads fitted on the bundled sample, kept from run to run."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.serving.texts import SAMPLE
from services.trainer.examples import PreferencePair, RatedResponse, RewardDataset
from services.trainer.recipes import embedding_reward
from shared.errors import ArtifactError
from shared.ml.artifact import load_scorer
from shared.ml.backbones import default_encoder_folder

BUILD = Path("build/serving")
SECRET = "signs the artifacts of this benchmark alone"
JUDGED_FROM = 240  # prompts before this one train, the others judge

Row = Mapping[str, Any]


def artifact(name: str, parameters: Mapping[str, object]) -> Path:
    """The folder of an artifact, trained now unless it lies there and still loads."""
    folder = BUILD / "models" / name
    try:
        load_scorer(folder, secret=SECRET.encode())
    except ArtifactError:
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        embedding_reward.train(
            dataset(),
            embedding_reward.EmbeddingParams.model_validate(parameters),
            output=folder,
            secret=SECRET.encode(),
            progress=lambda *_: None,
            code_version="benchmark",
        )
    return folder


def wide_encoder() -> Path:
    """The default encoder with a window of 512 tokens instead of 256, for long texts."""
    folder = BUILD / "wide-encoder"
    if not folder.exists():
        shutil.copytree(default_encoder_folder(), folder)
        settings = folder / "sentence_bert_config.json"
        said = json.loads(settings.read_text()) if settings.exists() else {}
        settings.write_text(json.dumps(said | {"max_seq_length": 512}))
    return folder


def dataset() -> RewardDataset:
    """What people say in the sample's first batch, parted by prompt."""
    rows = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["batch"] == 1]
    prompts = {prompt: at for at, prompt in enumerate(dict.fromkeys(row["prompt"] for row in rows))}
    rated = [_rated(row) for row in rows if row["kind"] == "feedback"]
    pairs = [_pair(row) for row in rows if row.get("preferred") in {"a", "b"}]
    return RewardDataset(
        [pair for pair in pairs if prompts[pair.prompt] < JUDGED_FROM],
        [pair for pair in pairs if prompts[pair.prompt] >= JUDGED_FROM],
        [one for one in rated if prompts[one.prompt] < JUDGED_FROM],
        [one for one in rated if prompts[one.prompt] >= JUDGED_FROM],
        snapshot_hash="0" * 64,
    )


def _rated(row: Row) -> RatedResponse:
    return RatedResponse(
        row["prompt"], row["response"], float(row["rating"]),
        group=row["prompt"], row_id=row["feedback_id"], rater=row["rater_id"],
    )  # fmt: skip


def _pair(row: Row) -> PreferencePair:
    sides = row["response_a"], row["response_b"]
    chosen, rejected = sides if row["preferred"] == "a" else sides[::-1]
    return PreferencePair(
        row["prompt"], chosen, rejected,
        group=row["prompt"], row_ids=(row["preference_id"],), rater=row["rater_id"],
    )  # fmt: skip
