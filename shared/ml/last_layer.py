"""What a transformer says beside its reward, from the vectors that its last layer reads.

Legend: n pairs, h = width of a vector.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.contracts.manifest import Feature, RewardManifest
from shared.ml.domain import DOMAIN_FILE, DomainModel, read_domain
from shared.ml.head import HEAD_FILE, Embedded, RewardHead, read_head
from shared.ml.posterior import POSTERIOR_FILE, Posterior, read_posterior
from shared.ml.scorer import Scores

VECTOR: tuple[Feature, ...] = ("text",)


@dataclass(frozen=True)
class LastLayer:
    """Which vectors are usual, how unsure the reward read from one is, and heads for aspects.

    Attributes:
        domain: None: nothing is called outside of it.
        posterior: None: how unsure rewards are is not known.
        head: of the aspects; None without any.
    """

    domain: DomainModel | None = None
    posterior: Posterior | None = None
    head: RewardHead | None = None

    def with_details(self, scores: Scores, vectors: NDArray[np.float32]) -> Scores:
        """The scores of n pairs with what their vectors, shape (n, h), tell beside them."""
        embedded, rows = as_embedded(vectors), vectors.astype(np.float64)
        return replace(
            scores,
            out_of_domain=self.domain.is_outside(embedded) if self.domain else None,
            uncertainty=self.posterior.deviations(rows) if self.posterior else None,
            aspects=self.head.aspect_rewards(rows) if self.head else {},
        )

    def files(self) -> dict[str, bytes]:
        """The files of an artifact that hold it, by name."""
        parts = {DOMAIN_FILE: self.domain, POSTERIOR_FILE: self.posterior, HEAD_FILE: self.head}
        return {name: part.to_bytes() for name, part in parts.items() if part is not None}


def read_last_layer(folder: Path, manifest: RewardManifest, *, width: int) -> LastLayer | None:
    """What an artifact folder holds of it; None when it holds nothing.

    Raises:
        ArtifactError: a file is missing or broken, or does not fit vectors of this width.
    """
    found = LastLayer(
        read_domain(folder, manifest.domain, dim=width) if manifest.domain else None,
        read_posterior(folder, width=width),
        read_head(folder, VECTOR, dim=width) if manifest.aspects else None,
    )
    return found if found != LastLayer() else None


def as_embedded(vectors: NDArray[np.float32]) -> Embedded:
    """Vectors of prompt and response read together, as domains and heads take them."""
    count = len(vectors)
    return Embedded(vectors, vectors, np.zeros(count, dtype=np.int64), [""] * count)
