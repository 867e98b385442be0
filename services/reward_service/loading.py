"""Reads a model version into memory; the only place of this service that brings in torch."""

from shared.artifacts import FolderStore, folder_sha256
from shared.db.tables import ModelVersion
from shared.errors import ArtifactError
from shared.ml.scorer import Pair, Scorer

_WARM_UP = [Pair("What does the engine need before it is fast?", "One round.")] * 2


def load_version(version: ModelVersion, *, store: FolderStore, secret: bytes) -> Scorer:
    """A scorer that has been verified and has scored once; takes seconds, so call it in a thread.

    Raises:
        ArtifactError: the artifact is missing, changed, unsafe or scores differently.
    """
    from shared.ml.artifact import load_scorer

    folder = store.path(version.uri)
    if folder_sha256(folder) != version.sha256:
        raise ArtifactError(
            f"{folder} is not what was registered as {version.name} version {version.version}; "
            "restore it from a backup or promote another version."
        )
    scorer = load_scorer(folder, threads=1, verify=True, secret=secret)
    scorer.score(_WARM_UP)
    return scorer
