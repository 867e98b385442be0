"""What the demo posts: the bundled sample, or a person's own file, in two batches."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from shared.errors import NotEnoughData

Json = dict[str, Any]
_LATER_SHARE = 0.3
# With the trainer's default minimum of 50, and some rows for the second round.
_LEAST_FIRST, _LEAST_ROWS = 60, 80


@dataclass(frozen=True)
class Post:
    """One body for `/feedback` or `/preference`, and where it was read."""

    kind: Literal["feedback", "preference"]
    body: Json
    place: str


@dataclass(frozen=True)
class Batches:
    """What is posted first, and what comes in while the first model serves."""

    source: str
    first: list[Post]
    later: list[Post]
    left_out: int = 0


def sample_batches() -> Batches:
    """The bundled sample of simulated raters."""
    from heed_cli.sample import load_sample

    batches: dict[int, list[Post]] = {1: [], 2: []}
    for number, row in enumerate(load_sample(), start=1):
        body = {name: value for name, value in row.items() if name not in ("kind", "batch")}
        batches[row["batch"]].append(Post(row["kind"], body, f"line {number}"))
    return Batches("bundled sample (simulated raters)", batches[1], batches[2])


def own_batches(path: Path) -> Batches:
    """A person's own file; a part of it is held back for the second batch.

    Raises:
        InvalidInput: the file cannot be read; the message names line and column.
        NotEnoughData: it is too short to train from.
    """
    from heed_cli.demo.own_data import read_posts

    posts, left_out = read_posts(path)
    first, later = hold_back(posts)
    return Batches(path.name, first, later, left_out)


def hold_back(posts: Sequence[Post]) -> tuple[list[Post], list[Post]]:
    """Most of the posts, and the rest for later; drawn, since files are often sorted.

    Raises:
        NotEnoughData: there are fewer posts than two rounds of training take.
    """
    if len(posts) < _LEAST_ROWS:
        raise NotEnoughData(
            f"{len(posts)} usable rows are too few: the demo trains twice and needs "
            f"{_LEAST_ROWS}. Add rows, or run it without --data."
        )
    shuffled = random.Random(0).sample(list(posts), len(posts))
    kept = max(_LEAST_FIRST, round((1 - _LATER_SHARE) * len(posts)))
    return shuffled[:kept], shuffled[kept:]
