"""Whether more labels would help: accuracy of models trained on parts of the feedback.

Parts are nested and never split a prompt group. Only what is cheap is trained again: the encoder
reads each text once, and no part has more than `MOST_JUDGED` judgements. A transformer is too dear
to train again and has a curve of last layers on the model as it was before any feedback. Refitted
on the trained model they would show a flat curve whatever more labels bring: the layers below have
learned from all judgements already.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.audit.held_out import SEED, Compared, Rewards, drawn
from services.trainer.audit.intervals import mean_difference, share
from services.trainer.examples import PreferencePair, RatedResponse, RewardDataset
from services.trainer.heads import Floats
from services.trainer.reward_metrics import hits
from shared.contracts.audit import LearningCurve, LearningPoint, Refitted
from shared.errors import NotEnoughData
from shared.ml.encoder import EMBEDDING, VIEWS, Encoder, WrappedEncoder
from shared.ml.scorer import Pair, Scorer

Refit = Callable[[RewardDataset], Scorer]

MOST_JUDGED = 1000
MOST_COMPARED = 500  # where the texts of a curve are read for it alone
FEWEST_JUDGED = 30
FEWEST_COMPARED = 20
KEPT_WINDOWS = 50_000

# Of the largest part, which is half of all or what is cheap; twice of it ends a curve that does not
# end with the trained model itself.
_PARTS = (0.25, 0.5, 1.0)
_END = 2.0
_FLAT = 0.01


def learning_curve(
    refit: Refit | None,
    dataset: RewardDataset,
    compared: Compared,
    *,
    seed: int,
    refitted: Refitted = "model",
) -> LearningCurve:
    """The curve of a recipe that can train again cheaply, or the reason why there is none.

    Of `last_layer` the last point is another refit, and not the model itself.
    """
    if refit is None:
        return _left_out("nothing of this model can be trained again on parts of the feedback")
    if len(compared) < FEWEST_COMPARED:
        return _left_out(f"fewer than {FEWEST_COMPARED} comparisons are held out")
    if refitted == "last_layer":
        compared = compared.take(drawn(len(compared), MOST_COMPARED, seed=seed))
    shares = _PARTS if refitted == "model" else (*_PARTS, _END)
    parts = list(_scored_parts(refit, dataset, compared.pairs, _nested(dataset, shares, seed)))
    if refitted == "model" and parts:
        parts.append((_judged(dataset), compared.hits))
    if len(parts) < 2:
        return _left_out("there is too little feedback to train on parts of it")
    gain = mean_difference(parts[-1][1] - parts[-2][1], compared.groups)
    points = [
        LearningPoint(judgements=judged, accuracy=share(part, compared.groups))
        for judged, part in parts
    ]
    verdict = "rising" if gain.low > 0 else "flat" if gain.high < _FLAT else "undecidable"
    return LearningCurve(verdict=verdict, points=points, last_gain=gain, refitted=refitted)


def read_for_curve(
    dataset: RewardDataset, comparisons: Sequence[PreferencePair], *, seed: int = SEED
) -> tuple[RewardDataset, list[Pair]]:
    """All that a curve of last layers learns from, and the sides that it is judged on."""
    (groups,) = _nested(dataset, (_END,), seed)
    held = [comparisons[at] for at in drawn(len(comparisons), MOST_COMPARED, seed=seed)]
    return part_of(dataset, groups), [side for pair in held for side in pair.sides]


def part_of(dataset: RewardDataset, groups: set[bytes | str]) -> RewardDataset:
    """The dataset with only these prompt groups to learn from."""
    kept = {
        name: [one for one in rows if one.group in groups]
        for name, rows in vars(dataset).items()
        if name.startswith("train_")
    }
    parts: dict[str, Any] = kept
    return replace(dataset, **parts)


class RememberingEncoder(WrappedEncoder):
    """An encoder that reads each row of ids once, up to `KEPT_WINDOWS` of them; see `Encoder`."""

    def __init__(self, encoder: Encoder) -> None:
        """Nothing is read yet."""
        super().__init__(encoder)
        self._known: dict[bytes, NDArray[np.float32]] = {}

    def embed(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Embeddings of rows of ids, shape (n, dim)."""
        return self.views(token_ids)[:, EMBEDDING]

    def views(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """All views of rows of ids, shape (n, VIEWS, dim)."""
        keys = [array("I", ids).tobytes() for ids in token_ids]
        vectors = np.empty((len(keys), VIEWS, self.dim), dtype=np.float32)
        new = [at for at, key in enumerate(keys) if key not in self._known]
        if new:
            vectors[new] = self.encoder.views([token_ids[at] for at in new])
        for at in set(range(len(keys))).difference(new):
            vectors[at] = self._known[keys[at]]
        for at in new[: KEPT_WINDOWS - len(self._known)]:
            self._known[keys[at]] = vectors[at].copy()
        return vectors


def _scored_parts(
    refit: Refit,
    dataset: RewardDataset,
    pairs: Sequence[PreferencePair],
    parts: Iterable[set[bytes | str]],
) -> Iterator[tuple[int, Floats]]:
    """Judgements of each part, and the hits of the model that learned from it."""
    for groups in parts:
        part = part_of(dataset, groups)
        judged = _judged(part)
        if judged < FEWEST_JUDGED:
            continue
        try:
            scorer = refit(part)
        except NotEnoughData:
            continue  # such as a part in which nothing is good: it teaches nothing
        yield judged, hits(Compared.of(pairs, Rewards(scorer)).margins)


def _nested(
    dataset: RewardDataset, shares: Sequence[float], seed: int
) -> Iterator[set[bytes | str]]:
    """Prompt groups of parts of so many judgements, each part within the next."""
    judged = Counter(one.group for one in _judgements(dataset))
    groups = sorted({one.group for one in _train_rows(dataset)}, key=str)
    order = [groups[at] for at in np.random.default_rng(seed).permutation(len(groups))]
    reached = np.cumsum([judged[group] for group in order])
    largest = min(judged.total() / 2, MOST_JUDGED)
    for part in shares:
        yield set(order[: np.searchsorted(reached, part * largest, side="right")])


def _judged(dataset: RewardDataset) -> int:
    return len(_judgements(dataset))


def _judgements(dataset: RewardDataset) -> list[RatedResponse | PreferencePair]:
    """What there is to learn from, a comparison made of ratings not counted again."""
    compared = [pair for pair in dataset.train_pairs if pair.source != "rating"]
    return [*dataset.train_rated, *compared]


def _train_rows(dataset: RewardDataset) -> Iterator[Any]:
    for name, rows in vars(dataset).items():
        if name.startswith("train_"):
            yield from rows


def _left_out(why: str) -> LearningCurve:
    return LearningCurve(verdict="left_out", why_left_out=why)
