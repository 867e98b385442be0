"""The model that scores a file, opened by the one path, and what pins it."""

from dataclasses import dataclass
from pathlib import Path

from shared.contracts.scoring import EngineChoice
from shared.ml.artifact import MANIFEST_FILE, load_scorer
from shared.ml.folders import sha256_of_file
from shared.ml.scorer import Scorer


@dataclass(frozen=True)
class OpenModel:
    """A verified model in memory.

    Attributes:
        scorer: the model.
        sha256: of its manifest, which names the hash of every file of it.
    """

    scorer: Scorer
    sha256: str


def open_model(
    folder: Path, *, secret: bytes, threads: int = 1, engine: EngineChoice = "auto"
) -> OpenModel:
    """The model in an artifact folder.

    Args:
        folder: an artifact folder.
        secret: what it is signed with.
        threads: torch threads of each worker.
        engine: what computes its numbers, see `shared.ml.engines`.

    Raises:
        ArtifactError: it is not to be trusted, or cannot be opened here.
    """
    scorer = load_scorer(folder, secret=secret, threads=threads, engine=engine)
    return OpenModel(scorer, sha256_of_file(folder / MANIFEST_FILE))
