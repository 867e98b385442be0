"""Reads a model version into memory; the only place of this service that brings in torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from shared.artifacts import ArtifactStore, folder_sha256
from shared.contracts.scoring import EngineChoice
from shared.db.tables import ModelVersion
from shared.errors import ArtifactError
from shared.logs import get_logger
from shared.ml.encoder import Encoder
from shared.ml.scorer import Pair, Scorer

_log = get_logger("reward_service")
_WARM_UP = [Pair("What does the engine need before it is fast?", "One round.")] * 2


class Loaded(NamedTuple):
    """A verified model and the bytes of its weights by address."""

    scorer: Scorer
    weights: Mapping[int, int]


@dataclass(frozen=True)
class How:
    """What decides how versions are opened: where they lie, who signed them, what computes."""

    store: ArtifactStore
    secret: bytes
    engine: EngineChoice = "auto"
    wrap: Callable[[Encoder], Encoder] | None = None


def load_version(version: ModelVersion, how: How) -> Loaded:
    """A model that has been verified and has scored once; takes seconds, so call it in a thread.

    Raises:
        ArtifactError: the artifact is missing, changed, unsafe or scores differently.
        StoreUnavailable: it is not on this machine, and the bucket it lies in is away.
    """
    from shared.ml.weights import weights_of

    folder = how.store.path(version.uri)
    if folder_sha256(folder) != version.sha256:
        raise ArtifactError(
            f"{folder} is not what was registered as {version.name} version {version.version}; "
            "restore it from a backup or promote another version."
        )
    scorer = _open(folder, how)
    scorer.score(_WARM_UP)
    return Loaded(scorer, weights_of(scorer))


def _open(folder: Path, how: How) -> Scorer:
    """The scorer on the engine that was asked for; `auto` gives way to the one it was fitted on."""
    from shared.ml.artifact import load_scorer

    load = partial(load_scorer, folder, secret=how.secret, threads=1, verify=True, wrap=how.wrap)
    try:
        return load(engine=how.engine)
    except ArtifactError as error:
        if how.engine != "auto":
            raise
        scorer = load(engine="fitted")
        _log.warning("engine_not_exact_enough", error=error.detail)
        return scorer
