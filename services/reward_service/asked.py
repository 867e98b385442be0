"""What a request wants to know beside the plain score."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.contracts.scoring import Extra
from shared.ml.said import needs_details


@dataclass(frozen=True)
class Asked:
    """What a request wants: extras by name, and weights by aspect (none: overall alone)."""

    extras: frozenset[Extra] = frozenset()
    weights: Mapping[str, float] = field(default_factory=dict)

    @property
    def details(self) -> bool:
        """Whether the engine has to say more than rewards."""
        return needs_details(self.extras, self.weights)
