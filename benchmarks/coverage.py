"""How often judgements of new prompts lie in a model's 90 % intervals, on human judgements.

    python -m benchmarks.coverage --data FOLDER [--sets pandalm-human sample] [--out FILE]

Five grouped folds over each set, once, with the code of `heed train embedding`: interval and
calibration come of the training part alone. Public sets of comparisons have intervals for labels;
`sample` is the bundled feedback, whose stars have intervals for ratings. A prompt counts once; the
standard error is over prompts.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from benchmarks.quality import MODES, reader, remember
from benchmarks.quality_sets import SOURCES, QualitySet, read_set
from services.trainer.audit.learning import RememberingEncoder
from services.trainer.evidence import collect_items
from services.trainer.examples import PreferencePair, RatedResponse, RewardDataset
from services.trainer.groups import group_sums
from services.trainer.recipes.embedding_reward import (
    EmbeddingParams,
    rated_rows,
    train_embedding_reward,
)
from services.trainer.self_knowledge import fit_interval, said_labels, said_ratings
from shared.ml.backbones import default_encoder_folder
from shared.ml.calibrated import interval
from shared.ml.encoder import Encoder, open_encoder
from shared.ml.scorer import Pair

FOLDS = 5
SAMPLE = "sample"

Floats = NDArray[np.float64]
Json = dict[str, Any]


def main() -> None:
    """Write the figures as JSON and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", nargs="*", default=[*SOURCES, SAMPLE])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/coverage.json"))
    given = parser.parse_args()
    result = json.loads(given.out.read_text()) if given.out.is_file() else {}
    encoder = RememberingEncoder(open_encoder(default_encoder_folder()))
    for name in given.sets:
        found = read_sample() if name == SAMPLE else read_set(name, given.data)
        if found is None:
            sys.stderr.write(f"SKIPPED {name}: it is not in {given.data}\n")
            continue
        if isinstance(found, QualitySet):
            remember(encoder, found)
        result[name] = {mode: measure(found, mode, encoder) for mode in MODES}
        sys.stdout.write(json.dumps({name: result[name]}) + "\n")
        given.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def read_sample() -> list[RatedResponse]:
    """The stars of the bundled sample, by prompt."""
    lines = (files("heed_cli") / "sample" / "feedback.jsonl").read_text(encoding="utf-8")
    posts = [json.loads(line) for line in lines.splitlines()]
    return [
        RatedResponse(
            post["prompt"], post["response"], float(post["rating"]), post["prompt"].lower(),
            post["feedback_id"], rater=post["rater_id"],
        )
        for post in posts
        if post["kind"] == "feedback"
    ]  # fmt: skip


def measure(found: QualitySet | list[RatedResponse], mode: str, encoder: Encoder) -> Json:
    """Coverage, width and prompts of one mode, over all folds."""
    folds = [score_fold(dataset, mode, encoder) for dataset in split(found)]
    inside = np.concatenate([fold.inside for fold in folds])
    sums, counts = group_sums(inside, [group for fold in folds for group in fold.groups])
    shares = sums / counts
    return {
        "target": folds[0].target,
        "prompts": len(shares),
        "judgements": len(inside),
        "coverage": round(float(shares.mean()), 4),
        "stderr": round(float(shares.std(ddof=1) / np.sqrt(len(shares))), 4),
        "width": round(float(np.concatenate([fold.widths for fold in folds]).mean()), 4),
    }


@dataclass(frozen=True)
class Fold:
    """The held-out judgements of a fold: 1 where the interval holds one, its width, its prompt."""

    target: str
    inside: Floats
    widths: Floats
    groups: Sequence[bytes | str]


def score_fold(dataset: RewardDataset, mode: str, encoder: Encoder) -> Fold:
    """A model of the training part, asked about the held-out part."""
    params = EmbeddingParams.model_validate({"mode": mode})
    fitted = train_embedding_reward(dataset, params, encoder, progress=lambda *_: None)
    own = dict(zip(_items(dataset, params), fitted.rewards.tolist(), strict=True))
    conformal = fit_interval(
        dataset, own, fitted.calibration, good_rating=params.good_rating, seed=params.seed
    )
    if conformal is None:
        raise SystemExit(f"{mode} gives no interval")
    said = (
        said_ratings(dataset.test_rated)
        if conformal.target == "rating"
        else said_labels(dataset.test_pairs, dataset.test_rated, good_rating=params.good_rating)
    )
    rewards = fitted.head.rewards(reader(encoder, params.mode).read(said.items).embedded)
    bounds = interval(rewards, conformal, fitted.calibration)
    inside = (bounds.low <= said.values) & (said.values <= bounds.high)
    widths = bounds.high - bounds.low
    return Fold(conformal.target, inside.astype(np.float64), widths, said.groups)


def split(found: QualitySet | list[RatedResponse]) -> Iterator[RewardDataset]:
    """The training part and the held-out part of each fold."""
    judged: Sequence[PreferencePair | RatedResponse]
    judged = found.scored if isinstance(found, QualitySet) else found
    groups = np.unique([str(one.group) for one in judged], return_inverse=True)[1]
    for _, held in GroupKFold(FOLDS, shuffle=True, random_state=0).split(groups, groups=groups):
        outside = {judged[at].group for at in held}
        if isinstance(found, QualitySet):
            pairs = [pair for pair in found.pairs if pair.group not in outside]
            ties = [tie for tie in found.ties if tie.group not in outside]
            tested = [found.scored[at] for at in held]
            yield RewardDataset(pairs, tested, (), (), snapshot_hash="", train_ties=ties)
        else:
            rated = [one for one in found if one.group not in outside]
            yield RewardDataset((), (), rated, [found[at] for at in held], snapshot_hash="")


def _items(dataset: RewardDataset, params: EmbeddingParams) -> list[Pair]:
    """The items of out-of-fold rewards, in their order."""
    if params.mode == "original":
        return [Pair(one.prompt, one.response) for one in rated_rows(dataset)]
    return collect_items(
        dataset.train_pairs, dataset.train_rated, dataset.train_ties, dataset.train_rankings,
        weights=params.weights, ratings_as=params.ratings_as,
    ).pairs  # fmt: skip


if __name__ == "__main__":
    main()
