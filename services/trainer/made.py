"""What a training run has made, before it is judged against the live model."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.trainer.reward_metrics import Metrics
from shared.db.columns import Json

Judged = Callable[[Path, Path | None, Json | None], Json]


@dataclass(frozen=True)
class Made:
    """A finished artifact.

    Attributes:
        kind: of the model version.
        folder: the artifact, aside.
        metrics: to be kept with the version.
        judge: the gate's report of the stored artifact, given the live one's folder, if there is
            one, and how the dataset was split.
        used: model versions that it learned from, beside the dataset.
    """

    kind: str
    folder: Path
    metrics: Metrics
    judge: Judged
    used: Sequence[uuid.UUID] = ()
