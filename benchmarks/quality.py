"""How often reward models agree with people on public human judgements, by cross-validation.

    make bench-quality [BENCH="--data FOLDER --repeats 5"]

5 × 5-fold cross-validation over each whole set; folds never split a group (a dialogue's first turn,
an instruction, a question). Every choice a recipe makes is made inside the training part, by the
code of `heed train embedding`; encoded texts are remembered between folds, which changes no number.
Rows: `default` and `original`, the two modes, and `length_only`, one fitted weight of the length.
Intervals are over groups.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from benchmarks.quality_sets import SOURCES, QualitySet, read_set
from services.trainer.audit.learning import RememberingEncoder
from services.trainer.baselines import fitted_length_margins
from services.trainer.examples import PreferencePair, RewardDataset
from services.trainer.groups import group_sums
from services.trainer.recipes.embedding_reward import (
    JOINT,
    EmbeddingParams,
    train_embedding_reward,
)
from services.trainer.reward_metrics import grouped_interval, hits
from shared.contracts.manifest import Truncation
from shared.ml.backbones import default_encoder_folder
from shared.ml.encoder import Encoder, open_encoder
from shared.ml.scorer import Pair, PairReader

FOLDS = 5
ROWS = ("default", "original", "length_only")
MODES: tuple[Literal["default", "original"], ...] = ("default", "original")

Floats = NDArray[np.float64]
Json = dict[str, Any]
Fold = tuple[int, NDArray[np.int64]]

_SHARED: list[Any] = []  # what every process of the pool works on


def main() -> None:
    """Write one JSON file a set and print a table."""
    given = _arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.sets or SOURCES:
        found = read_set(name, given.data)
        if found is None:
            sys.stderr.write(f"SKIPPED {name}: {given.data / SOURCES[name].path} is not there\n")
            continue
        started = time.monotonic()
        scored = cross_validate(found, repeats=given.repeats, processes=given.processes)
        result = summarise(found, scored) | {"repeats": given.repeats}
        result["seconds"] = round(time.monotonic() - started, 1)
        path = given.out / f"quality-{name}.json"
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        sys.stdout.write(table_row(result))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--sets", nargs="*", choices=list(SOURCES))
    return parser.parse_args()


def cross_validate(found: QualitySet, *, repeats: int, processes: int) -> dict[str, Floats]:
    """Hits of each row on each scored comparison, averaged over the repeats, shape (scored,)."""
    encoder = RememberingEncoder(open_encoder(default_encoder_folder(), threads=processes))
    remember(encoder, found)
    folds = list(split(found, repeats))
    totals = {row: np.zeros(len(found.scored)) for row in ROWS}
    # Forked processes share what the encoder remembers and never run it.
    with ProcessPoolExecutor(
        processes, get_context("fork"), initializer=_SHARED.extend, initargs=([found, encoder],)
    ) as pool:
        for (_, held), margins in zip(folds, pool.map(_score, folds), strict=True):
            for row in ROWS:
                totals[row][held] += hits(margins[row]) / repeats
    return totals


def _score(fold: Fold) -> dict[str, Floats]:
    found, encoder = _SHARED
    return score_fold(found, encoder, fold)


def split(found: QualitySet, repeats: int) -> Iterator[Fold]:
    """The seed and the held-out scored comparisons of each fold of each repeat."""
    groups = np.unique([str(pair.group) for pair in found.scored], return_inverse=True)[1]
    for seed in range(repeats):
        folds = GroupKFold(FOLDS, shuffle=True, random_state=1000 + seed)
        for _, held in folds.split(groups, groups=groups):
            yield seed, held


def remember(encoder: Encoder, found: QualitySet) -> None:
    """Let the encoder read every text once, in the windows of both modes."""
    sides = [side for pair in found.pairs for side in pair.sides]
    sides += [Pair(tie.prompt, response) for tie in found.ties for response in tie.responses]
    for mode in MODES:
        reader(encoder, mode).read(list(dict.fromkeys(sides)))


def reader(encoder: Encoder, mode: Literal["default", "original"]) -> PairReader:
    """How a mode reads pairs."""
    window = encoder.max_tokens
    joint = JOINT if mode == "original" else None
    return PairReader(
        encoder, Truncation(prompt_tokens=window, response_tokens=window), separator=joint
    )


def score_fold(found: QualitySet, encoder: Encoder, fold: Fold) -> dict[str, Floats]:
    """Margins of each row on the held-out comparisons of one fold."""
    seed, held = fold
    tested = [found.scored[at] for at in held]
    outside = {pair.group for pair in tested}
    pairs = [pair for pair in found.pairs if pair.group not in outside]
    ties = [tie for tie in found.ties if tie.group not in outside]
    dataset = RewardDataset(pairs, (), (), (), snapshot_hash="", train_ties=ties)
    margins: dict[str, Floats] = {
        mode: mode_margins(mode, dataset, tested, encoder=encoder, seed=seed) for mode in MODES
    }
    return margins | {"length_only": fitted_length_margins(pairs, [], tested)}


def mode_margins(
    mode: Literal["default", "original"],
    dataset: RewardDataset,
    tested: Sequence[PreferencePair],
    *,
    encoder: Encoder,
    seed: int,
) -> Floats:
    """Rewards of chosen minus rejected by a model that was trained on the dataset."""
    params = EmbeddingParams(mode=mode, seed=seed)
    fitted = train_embedding_reward(dataset, params, encoder, progress=lambda *_: None)
    sides = [side for pair in tested for side in pair.sides]
    rewards = fitted.head.rewards(reader(encoder, mode).read(sides).embedded)
    return np.asarray(rewards[0::2] - rewards[1::2])


def summarise(found: QualitySet, scored: Mapping[str, Floats]) -> Json:
    """Accuracies and paired differences with standard errors and 95 % intervals over groups."""
    groups = [str(pair.group) for pair in found.scored]
    sizes = {"scored": len(groups), "groups": len(set(groups)), "judgements": len(found.pairs)}
    rows = {row: interval(scored[row], groups, "accuracy") for row in ROWS}
    differences = {
        f"default - {row}": interval(scored["default"] - scored[row], groups, "difference")
        for row in ROWS[1:]
    }
    shared = {"file_sha256": found.sha256, **sizes, "ties": len(found.ties), "folds": FOLDS}
    return {"set": found.name, **shared, **rows, "paired_difference": differences}


def table_row(result: Json) -> str:
    """One line of the table in docs/quality.md."""
    accuracies = [f"{result[row]['accuracy']:.3f} ± {result[row]['stderr']:.3f}" for row in ROWS]
    differences = [
        f"{found['difference']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f})"
        for found in result["paired_difference"].values()
    ]
    return f"| {' | '.join([result['set'], *accuracies, *differences])} |\n"


def interval(values: Floats, groups: Sequence[str], name: str) -> dict[str, float]:
    """Mean, its standard error from the sums of the groups, and a cluster-bootstrap interval."""
    found = grouped_interval(values, groups)
    off, _ = group_sums(values - values.mean(), groups)
    error = float(np.sqrt((off**2).sum())) / len(values)
    ends = {name: found.mean, "stderr": error, "low": found.low, "high": found.high}
    return {key: round(value, 4) for key, value in ends.items()}


if __name__ == "__main__":
    main()
