"""Last layers on a model that has learned from no feedback: what a learning curve can afford."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from services.trainer.dense_head import fit_dense
from services.trainer.evidence import Items
from services.trainer.examples import RewardDataset
from shared.contracts.manifest import RewardManifest
from shared.ml.head import RewardHead, probability
from shared.ml.last_layer import VECTOR, as_embedded
from shared.ml.scorer import Pair, Scores

Vectors = Mapping[Pair, NDArray[np.float32]]


class HeadScorer:
    """A last layer on vectors that were read before; see `Scorer`."""

    def __init__(self, manifest: RewardManifest, head: RewardHead, vectors: Vectors) -> None:
        """Score the pairs of `vectors` and no others."""
        self._manifest, self._head, self._vectors = manifest, head, vectors

    @property
    def manifest(self) -> RewardManifest:
        """Of the model whose last layer it could be."""
        return self._manifest

    @property
    def engine(self) -> str:
        """What computed the vectors."""
        return self._manifest.backbone.engine

    def score(self, pairs: Sequence[Pair], *, details: bool = False) -> Scores:
        """Scores of some pairs; there are no details."""
        rows = np.array([self._vectors[pair] for pair in pairs], dtype=np.float32)
        rewards = self._head.rewards(as_embedded(rows))
        return Scores(
            rewards,
            probability(rewards, self._manifest.calibration),
            np.zeros(len(pairs), dtype=bool),
            np.zeros(len(pairs), dtype=np.int64),
        )

    def rerank_scores(self, prompt: str, responses: Sequence[str]) -> Scores:
        """Scores of several responses to one prompt."""
        return self.score([Pair(prompt, response) for response in responses])


def last_layers_of(
    manifest: RewardManifest,
    vectors: Vectors,
    collect: Callable[[RewardDataset], Items],
    *,
    seed: int,
) -> Callable[[RewardDataset], HeadScorer]:
    """What fits a last layer to a part of the feedback, with the penalty that suits that part.

    Args:
        manifest: of the model.
        vectors: what reached the last layer before training, by pair.
        collect: items and evidence of a part.
        seed: of the folds.
    """

    def refit(part: RewardDataset) -> HeadScorer:
        items = collect(part)
        pairs, groups = items.pairs[: items.overall], items.groups[: items.overall]
        rows = np.array([vectors[pair] for pair in pairs], dtype=np.float64)
        width = {VECTOR[0]: rows.shape[1]}
        found = fit_dense(rows, items.evidence, groups, width, seed=seed)
        head = RewardHead(VECTOR, found.weights, -found.offset)
        return HeadScorer(manifest, head, vectors)

    return refit
