"""The model that scores a file, opened by the one path, and what pins it."""

from dataclasses import dataclass
from pathlib import Path

from shared.ml.artifact import MANIFEST_FILE, load_scorer
from shared.ml.encoder import Encoder
from shared.ml.folders import sha256_of_file
from shared.ml.scorer import Scorer


@dataclass(frozen=True)
class OpenModel:
    """A verified model in memory.

    Attributes:
        scorer: the model.
        sha256: of its manifest, which names the hash of every file of it.
        engine: what computes its numbers on this machine.
    """

    scorer: Scorer
    sha256: str
    engine: str


def open_model(folder: Path, *, secret: bytes, threads: int = 1) -> OpenModel:
    """The model in an artifact folder.

    Raises:
        ArtifactError: it is not to be trusted, or cannot be opened here.
    """
    engines: list[str] = []

    def note(encoder: Encoder) -> Encoder:
        engines.append(encoder.engine)
        return encoder

    scorer = load_scorer(folder, secret=secret, threads=threads, wrap=note)
    engine = engines[0] if engines else scorer.manifest.backbone.engine
    return OpenModel(scorer, sha256_of_file(folder / MANIFEST_FILE), engine)
