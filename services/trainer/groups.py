"""Prompt groups: rows of one group are not independent, so they are counted and drawn together.

Legend: n rows in G groups.
"""

from collections.abc import Sequence

import numpy as np

from services.trainer.heads import Floats, Indices

Groups = Sequence[bytes | str | int]

_DRAWS_AT_ONCE = 1_000_000


def numbered(groups: Groups) -> Indices:
    """The number of each row's group, 0 to G - 1 in the order they come, shape (n,)."""
    places: dict[bytes | str | int, int] = {}
    return np.array([places.setdefault(group, len(places)) for group in groups], dtype=np.int64)


def group_sums(values: Floats, groups: Groups) -> tuple[Floats, Indices]:
    """The sum of the values of each group and how many they are, shape (G,) each."""
    member = numbered(groups)
    sums = np.bincount(member, weights=values).astype(np.float64)
    return sums, np.bincount(member).astype(np.int64)


def resampled_means(sums: Floats, counts: Indices, *, resamples: int, seed: int) -> Floats:
    """Means of the values over groups drawn with replacement, shape (resamples,).

    Source: Field & Welsh 2007, "Bootstrapping clustered data" (the cluster bootstrap).
    """
    generator = np.random.default_rng(seed)
    means = []
    for count in portions(resamples, len(sums)):
        drawn = generator.integers(len(sums), size=(count, len(sums)))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return np.concatenate(means)


def portions(resamples: int, width: int) -> list[int]:
    """How many resamples to draw at once: all of them would take gigabytes."""
    at_once = max(1, _DRAWS_AT_ONCE // max(1, width))
    return [min(at_once, resamples - done) for done in range(0, resamples, at_once)]
