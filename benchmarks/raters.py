"""What random and adversarial raters cost a reward model, with weights and without.

    python -m benchmarks.raters [--seeds 20] [--pairs 12000] [--jobs 2] [--out FILE]

Every seed draws responses with known rewards, of which the features explain most, and 100 raters,
some of whom judge far more than others. A fifth of them choose at random and a twentieth say the
opposite of what they think. The head is fitted by the code of `heed train embedding`, on features
instead of embeddings, and judged on 5,000 new pairs by their known rewards: share of
pairs in the right order. Three ways in which people may have judged:

- once: every pair was judged by one rater, so that raters share nothing;
- twice: every pair was judged by two;
- stars: one rater gave both responses stars, with cuts of his own.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.trainer.datasets import Evidence
from services.trainer.dense_head import DenseFit, fit_dense
from services.trainer.evidence import Items, collect_items
from services.trainer.examples import PreferencePair, RatedResponse
from services.trainer.raters.weights import rater_weights

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

RATERS = 100
RANDOM, ADVERSARIAL = 0.20, 0.05
DESIGNS = ("once", "twice", "stars")

_WIDTH = 128  # features that explain the rewards
_UNEXPLAINED = 0.5  # standard deviation of what they do not, beside 1 of what they do
_HELD_OUT = 5000


@dataclass(frozen=True)
class World:
    """Responses 2i and 2i + 1 to prompt i, their features and their known rewards."""

    features: Floats
    rewards: Floats

    @classmethod
    def draw(cls, rng: np.random.Generator, pairs: int) -> "World":
        """Rewards in log-odds with a standard deviation of about 1.1."""
        features = rng.normal(size=(2 * (pairs + _HELD_OUT), _WIDTH))
        weights = rng.normal(size=_WIDTH) / np.sqrt(_WIDTH)
        unexplained = _UNEXPLAINED * rng.normal(size=len(features))
        return cls(features, features @ weights + unexplained)

    def accuracy(self, weights: Floats) -> float:
        """Share of the held-out pairs that these weights put in their known order."""
        margins = (self.features @ weights)[-2 * _HELD_OUT :].reshape(-1, 2) @ [1.0, -1.0]
        known = self.rewards[-2 * _HELD_OUT :].reshape(-1, 2) @ [1.0, -1.0]
        return float(np.mean(margins * known > 0))


@dataclass(frozen=True)
class Crowd:
    """Raters by number: how much of the work each does, and what is wrong with him."""

    shares: Floats
    is_random: NDArray[np.bool_]
    is_adversarial: NDArray[np.bool_]
    strictness: Floats

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Crowd":
        """100 raters, the busiest of whom do some ten times as much as the laziest."""
        shares = np.exp(rng.normal(size=RATERS) * 0.7)
        order = rng.permutation(RATERS) / RATERS
        is_random, is_bad = order < RANDOM, order < RANDOM + ADVERSARIAL
        return cls(shares / shares.sum(), is_random, is_bad & ~is_random, rng.normal(size=RATERS))

    @property
    def all_honest(self) -> "Crowd":
        """The same people with nothing wrong with them."""
        nobody = np.zeros(RATERS, dtype=np.bool_)
        return replace(self, is_random=nobody, is_adversarial=nobody)

    @property
    def oracle(self) -> dict[str, float]:
        """Weights of who knows each rater."""
        bad = self.is_random | self.is_adversarial
        return {_name(rater): 1e-6 for rater in np.flatnonzero(bad)}


def judge(rng: np.random.Generator, world: World, crowd: Crowd, design: str) -> Evidence:
    """What the crowd says of the world's responses that are not held out."""
    pairs = np.repeat(np.arange(len(world.rewards) // 2 - _HELD_OUT), 2 if design == "twice" else 1)
    rater = rng.choice(RATERS, size=len(pairs), p=crowd.shares)
    if design == "stars":
        return _stars(rng, world, crowd, pairs, rater)
    margin = world.rewards[2 * pairs] - world.rewards[2 * pairs + 1]
    is_first = rng.random(len(pairs)) < 1 / (1 + np.exp(-margin))
    is_first ^= crowd.is_adversarial[rater]
    is_first = np.where(crowd.is_random[rater], rng.random(len(pairs)) < 0.5, is_first)
    return Evidence(
        pairs=[
            _pair(at, pair, bool(first), _name(who))
            for at, (pair, first, who) in enumerate(
                zip(pairs.tolist(), is_first, rater, strict=True)
            )
        ]
    )


def fit(evidence: Evidence, world: World, weights: Mapping[str, float]) -> tuple[DenseFit, Items]:
    """The dense head of the embedding recipe on the world's features."""
    items = collect_items(
        evidence.pairs, evidence.rated, rater_weights=weights, ratings_as="levels"
    )
    rows = world.features[[int(item.response) for item in items.pairs]]
    fitted = fit_dense(rows, items.evidence, items.groups, {"response": _WIDTH}, seed=0)
    return fitted, items


def compare(seed: int, design: str, pairs: int) -> dict[str, float]:
    """Held-out accuracy of one seed: clean raters, and planted ones weighed in several ways."""
    rng = np.random.default_rng([seed, DESIGNS.index(design)])
    world = World.draw(rng, pairs)
    crowd = Crowd.draw(rng)
    clean, planted = (
        judge(np.random.default_rng([seed, len(design)]), world, judges, design)
        for judges in (crowd.all_honest, crowd)
    )
    first, items = fit(planted, world, {})
    rewards = dict(zip(items.pairs, first.rewards.tolist(), strict=True))
    weighed = {
        "by_agreement": rater_weights(planted),
        "by_agreement_and_model": rater_weights(planted, rewards=rewards),
        "oracle": crowd.oracle,
    }
    found = {"clean": fit(clean, world, {})[0].weights, "unweighted": first.weights}
    found |= {name: fit(planted, world, weights)[0].weights for name, weights in weighed.items()}
    return {name: world.accuracy(weights) for name, weights in found.items()}


def summarise(runs: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean accuracy, and the cost against clean raters in points with its 95 % interval."""
    table = {name: np.array([run[name] for run in runs]) for name in runs[0]}
    summary = {}
    for name, accuracy in table.items():
        cost = 100 * (table["clean"] - accuracy)
        half = 1.96 * cost.std(ddof=1) / np.sqrt(len(cost)) if len(cost) > 1 else 0.0
        summary[name] = {
            "accuracy": round(float(accuracy.mean()), 4),
            "cost_points": round(float(cost.mean()), 3),
            "cost_low": round(float(cost.mean() - half), 3),
            "cost_high": round(float(cost.mean() + half), 3),
            "cost_worst": round(float(cost.max()), 3),
        }
    return summary


def main() -> None:
    """Write the table as JSON and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=12_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/raters.json"))
    given = parser.parse_args()
    started = time.monotonic()
    result: dict[str, object] = {
        "seeds": given.seeds,
        "pairs": given.pairs,
        "raters": RATERS,
        "random": RANDOM,
        "adversarial": ADVERSARIAL,
    }
    with ProcessPoolExecutor(given.jobs) as pool:
        runs = {
            design: [pool.submit(compare, seed, design, given.pairs) for seed in range(given.seeds)]
            for design in DESIGNS
        }
        for design, futures in runs.items():
            result[design] = summarise([future.result() for future in futures])
    result["seconds"] = round(time.monotonic() - started, 1)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


def _stars(
    rng: np.random.Generator, world: World, crowd: Crowd, pairs: Indices, rater: Indices
) -> Evidence:
    both = world.rewards[: 2 * len(pairs)].reshape(-1, 2)
    seen = both + rng.logistic(size=both.shape) / 2 - crowd.strictness[rater][:, None] / 2
    stars = 1.0 + np.digitize(seen, [-1.5, -0.5, 0.5, 1.5])
    stars = np.where(crowd.is_adversarial[rater][:, None], 6.0 - stars, stars)
    by_chance = rng.integers(1, 6, size=stars.shape)
    stars = np.where(crowd.is_random[rater][:, None], by_chance, stars)
    rated = [
        RatedResponse(str(pair), str(2 * pair + side), float(stars[pair, side]), f"{pair:08x}",
                      f"{pair} {side}", rater=_name(rater[pair]))
        for pair in pairs.tolist() for side in (0, 1)
    ]  # fmt: skip
    derived = [
        _pair(at, pair, bool(stars[pair, 0] > stars[pair, 1]), _name(rater[pair]), "rating")
        for at, pair in enumerate(pairs.tolist())
        if stars[pair, 0] != stars[pair, 1]
    ]
    return Evidence(pairs=derived, rated=rated)


def _pair(
    at: int, pair: int, is_first: bool, rater: str, source: str = "preference"
) -> PreferencePair:
    sides = (str(2 * pair), str(2 * pair + 1))
    chosen, rejected = sides if is_first else sides[::-1]
    rows = (f"{pair} 0", f"{pair} 1") if source == "rating" else (str(at),)
    return PreferencePair(str(pair), chosen, rejected, f"{pair:08x}", rater=rater, row_ids=rows,
                          source="rating" if source == "rating" else "preference")  # fmt: skip


def _name(rater: int) -> str:
    return f"rater {rater}"


if __name__ == "__main__":
    main()
