"""How unsure a linear reward head is of its own rewards, from the Fisher information of its fit.

Legend: n texts, f = width of the dense features, k = directions that are kept.

The head's weights are a maximum a posteriori estimate: a Gaussian prior and the likelihood of what
people said. Around it the posterior is about Gaussian with covariance (I + Z'WZ)⁻¹, in features z
scaled by the prior's standard deviations, where the rows of Z are what was judged and W is how much
each judgement tells. With the k largest eigenvalues e of Z'WZ and their directions u, a reward's
variance is |z|² − Σ (z·u)² e / (1 + e): wide where nobody judged anything like it.

Source: MacKay 1992, "The evidence framework applied to classification networks", eq. 5; the
low-rank form as in Daxberger et al. 2021, "Laplace redux", arXiv:2106.14806, on the last layer.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from shared.errors import ArtifactError

POSTERIOR_FILE = "posterior.safetensors"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Posterior:
    """What is known of the weights of the dense features; the words' share is taken as given.

    Attributes:
        centre: mean of the features over what was judged, shape (f,), float32.
        prior: the prior's standard deviation of each weight, shape (f,), float32.
        directions: orthonormal columns, shape (f, k), float32; k may be 0.
        shares: e / (1 + e) of each, 0-1, shape (k,), float32.
    """

    centre: NDArray[np.float32]
    prior: NDArray[np.float32]
    directions: NDArray[np.float32]
    shares: NDArray[np.float32]

    def deviations(self, features: Floats) -> Floats:
        """Standard deviation of each reward, shape (n,), >= 0, in units of the raw reward.

        The reward is meant relative to the average response: a shift of all rewards is no doubt.
        """
        scaled = (features - self.centre) * self.prior
        known = (scaled @ self._directions) ** 2 @ self.shares
        variance = (scaled**2).sum(axis=1) - known
        return np.asarray(np.sqrt(np.maximum(variance, 0.0)), dtype=np.float64)

    @cached_property
    def _directions(self) -> Floats:
        """In the precision of the sum; to convert them for each request took as long as to read."""
        return self.directions.astype(np.float64)

    def to_bytes(self) -> bytes:
        """The posterior as a safetensors file of 4 f (k + 2) + 4 k bytes and a header."""
        return save(
            {
                "centre": self.centre,
                "prior": self.prior,
                "directions": np.ascontiguousarray(self.directions),
                "shares": self.shares,
            }
        )


def read_posterior(folder: Path, *, width: int) -> Posterior | None:
    """The posterior in an artifact folder; None when the model came without.

    Raises:
        ArtifactError: the file is broken, or its shapes do not fit the head.
    """
    path = folder / POSTERIOR_FILE
    if not path.is_file():
        return None
    try:
        tensors = load_file(path)
        found = Posterior(
            tensors["centre"], tensors["prior"], tensors["directions"], tensors["shares"]
        )
    except (OSError, SafetensorError, KeyError) as error:
        raise ArtifactError(
            f"{path} is not a readable posterior ({type(error).__name__}); restore the artifact."
        ) from None
    shapes = [part.shape for part in (found.centre, found.prior, found.directions)]
    if shapes != [(width,), (width,), (width, len(found.shares))]:
        raise ArtifactError(f"{path} does not fit the head of its manifest.")
    return found
