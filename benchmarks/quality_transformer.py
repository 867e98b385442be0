"""The fine-tuned transformer beside the embedding model, on the same held-out comparisons.

    make bench-quality-full [BENCH="--data FOLDER --seeds 1 --most 400"]

The smallest size, six minutes of one core: `--seeds 1 --most 120 --recipe '{"epochs": 1}'`.
A set that is not in the folder is skipped and said so. Each seed draws one grouped fold, trains on
the rest and judges on the fold; what a recipe chooses, it chooses on groups of its own training
part. Writes `benchmarks/results/transformer-<set>.json`; intervals are over groups.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    set_seed,
)

from benchmarks.quality import interval, mode_margins
from benchmarks.quality_sets import SOURCES, QualitySet, read_set
from services.trainer.backbones import ResolvedBackbone, resolve_backbone
from services.trainer.baselines import fitted_length_margins
from services.trainer.examples import RewardDataset
from services.trainer.heads import grouped_folds
from services.trainer.recipes.embedding_reward import EmbeddingParams
from services.trainer.recipes.transformer_reward import TransformerParams, fine_tune
from services.trainer.reward_metrics import hits
from services.trainer.transformer.judgements import collect_judgements, validation_split
from shared.ml.backbones import default_encoder_folder
from shared.ml.encoder import open_encoder

Floats = NDArray[np.float64]
Margins = Callable[[RewardDataset], Floats]
_BESIDE = "embedding"
_SEEDS = 100  # of the folds: the first of these, so that no fold was looked at before


def main() -> None:
    """Write one file for each set, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--most", type=int, default=0, help="train on so many pairs; 0: all")
    parser.add_argument("--sets", nargs="*", default=["hh-rlhf-harmless"], choices=list(SOURCES))
    parser.add_argument("--recipe", default="{}", help="parameters of the transformer, as JSON")
    parser.add_argument("--skip", nargs="*", default=[], help="models to leave out")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    given = parser.parse_args()
    params = TransformerParams(**json.loads(given.recipe))
    for name in given.sets:
        found = read_set(name, given.data)
        if found is None:
            sys.stderr.write(f"SKIPPED {name}: {given.data} does not hold it.\n")
            continue
        models = {key: one for key, one in _models(params).items() if key not in given.skip}
        report = judge(found, models, seeds=given.seeds, most=given.most)
        report["recipe"] = params.model_dump()
        given.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(report, indent=2) + "\n"
        (given.out / f"transformer-{name}.json").write_text(text, encoding="utf-8")
        sys.stdout.write(text)


def judge(
    found: QualitySet, models: dict[str, Margins], *, seeds: int, most: int
) -> dict[str, object]:
    """Accuracy of each model over the folds, how far above the embedding's, and its seconds."""
    rights: dict[str, list[Floats]] = {name: [] for name in models}
    seconds = dict.fromkeys(models, 0.0)
    sizes: list[int] = []
    groups: list[str] = []
    for seed in range(seeds):
        dataset = fold(found, seed=_SEEDS + seed, most=most)
        sizes.append(len(dataset.train_pairs))
        groups += [str(pair.group) for pair in dataset.test_pairs]
        for name, margins in models.items():
            started = time.monotonic()
            rights[name].append(hits(margins(dataset)))
            seconds[name] += (time.monotonic() - started) / seeds
            sys.stderr.write(f"{found.name} {seed} {name} {rights[name][-1].mean():.3f}\n")
    every = {name: np.concatenate(parts) for name, parts in rights.items()}
    told = {"sha256": found.sha256, "seeds": seeds, "train_pairs": sizes, "test_pairs": len(groups)}
    rows = {
        name: interval(values, groups, "accuracy") | {"seconds": round(seconds[name], 1)}
        for name, values in every.items()
    }
    differences = {
        f"{name} - {_BESIDE}": interval(values - every[_BESIDE], groups, "difference")
        for name, values in every.items()
        if name != _BESIDE and _BESIDE in every
    }
    return {**told, **rows, "paired_difference": differences}


def fold(found: QualitySet, *, seed: int, most: int) -> RewardDataset:
    """One grouped fold held out; of the rest, at most so many pairs to learn from."""
    groups = np.unique([str(one.group) for one in found.scored], return_inverse=True)[1]
    _, held = next(grouped_folds(groups, seed=seed))
    test = [found.scored[at] for at in held]
    out = {one.group for one in test}
    train = [one for one in found.pairs if one.group not in out]
    if most:
        order = np.random.default_rng(seed).permutation(len(train))[:most]
        train = [train[at] for at in order]
    ties = [one for one in found.ties if one.group not in out]
    return RewardDataset(train, test, [], [], found.sha256, train_ties=ties)


def _models(params: TransformerParams) -> dict[str, Margins]:
    alone = params.model_copy(update={"read_prompt": False})
    return {
        "length_only": lambda dataset: fitted_length_margins(
            dataset.train_pairs, dataset.train_rated, dataset.test_pairs
        ),
        "embedding": _embedding_margins,
        "transformer": lambda dataset: _transformer_margins(dataset, params),
        "response_alone": lambda dataset: _transformer_margins(dataset, alone),
        "from_scratch": lambda dataset: _scratch_margins(dataset, params),
    }


def _embedding_margins(dataset: RewardDataset) -> Floats:
    encoder = open_encoder(default_encoder_folder(), threads=torch.get_num_threads())
    return mode_margins(
        "default", dataset, dataset.test_pairs, encoder=encoder, seed=EmbeddingParams().seed
    )


def _transformer_margins(
    dataset: RewardDataset, params: TransformerParams, source: ResolvedBackbone | None = None
) -> Floats:
    kept, held = validation_split(collect_judgements(dataset, params.weights), seed=params.seed)
    source = source or resolve_backbone(params.base_model)
    with TemporaryDirectory() as folder:
        tuned = fine_tune(source, kept, held, params, work=Path(folder), progress=_tell)
    sys.stderr.write(f"{json.dumps(tuned.report)}\n")
    sides = [side for pair in dataset.test_pairs for side in pair.sides]
    with torch.inference_mode():
        rewards = [
            float(tuned.model(input_ids=torch.tensor([window.ids])).logits)
            for window in tuned.tokenizer.windows(sides)
        ]
    return np.array(rewards[0::2]) - np.array(rewards[1::2])


def _scratch_margins(dataset: RewardDataset, params: TransformerParams) -> Floats:
    """The same architecture from random weights, ten times as fast."""
    source = resolve_backbone(params.base_model)
    with TemporaryDirectory() as folder:
        set_seed(params.seed)
        random = AutoModelForSequenceClassification.from_config(
            AutoConfig.from_pretrained(source.folder, num_labels=1)
        )
        random.save_pretrained(folder)
        AutoTokenizer.from_pretrained(source.folder).save_pretrained(folder)
        slow = {"learning_rate": 10 * params.learning_rate, "head_first": False}
        blank = ResolvedBackbone("random weights", Path(folder))
        return _transformer_margins(dataset, params.model_copy(update=slow), blank)


def _tell(done: float, stage: str, numbers: dict[str, float]) -> None:
    sys.stderr.write(f"  {time.strftime('%H:%M:%S')} {stage} {done:.2f} {json.dumps(numbers)}\n")


if __name__ == "__main__":
    main()
