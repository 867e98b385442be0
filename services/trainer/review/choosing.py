"""Choosing a few of many: what the model is unsure of, no two alike, and something of every slice.

Legend: n candidates, d = width of an embedding.
"""

import math
from collections.abc import Mapping
from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# What is exactly like something chosen already is not out of reach, only last.
_LEAST_DISTANCE = 1e-3
# How much distance counts beside doubt: with 1 the queue went after outliers (decision 0024).
_PULL = 0.25


def quotas(sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """How many to take of each slice: by the square root of its size, and never more than it has.

    The root lies between equal shares, which exhaust small slices, and proportional ones, which
    never ask about them.

    Args:
        sizes: candidates of each slice.
        total: how many to take in all; fewer come where there are fewer.
    """
    taken = dict.fromkeys(sizes, 0)
    hungry = [(-math.sqrt(size), name) for name, size in sizes.items() if size]
    heapify(hungry)
    for _ in range(min(total, sum(sizes.values()))):
        _, name = heappop(hungry)
        taken[name] += 1
        if taken[name] < sizes[name]:
            heappush(hungry, (-math.sqrt(sizes[name]) / (taken[name] + 1), name))
    return taken


def choose_diverse(doubts: Floats, embeddings: Floats, count: int) -> list[int]:
    """Places of the chosen: greedily the largest doubt times distance^¼ to the nearest chosen one.

    With equal doubts this is the farthest-first traversal, which covers at most twice as badly as
    the best choice of centres can.

    Args:
        doubts: how unsure the model is of each candidate, >= 0, shape (n,).
        embeddings: of the candidates, each of length 1, shape (n, d); distance is 1 − cosine.
        count: how many to choose.

    Source: Gonzalez 1985, "Clustering to minimize the maximum intercluster distance"; Sener &
    Savarese 2018, arXiv:1708.00489, for active learning; the product with doubt is ours.
    """
    nearest, is_open = np.ones(len(doubts)), np.ones(len(doubts), dtype=bool)
    chosen: list[int] = []
    for _ in range(min(count, len(doubts))):
        worth = np.where(is_open, np.maximum(doubts, 1e-12) * nearest**_PULL, -1.0)
        best = int(np.argmax(worth))
        chosen.append(best)
        is_open[best] = False
        away = np.maximum(1.0 - embeddings @ embeddings[best], _LEAST_DISTANCE)
        nearest = np.minimum(nearest, away)
    return chosen
