"""From a model's name to a safe local folder; the only place that may ask a model hub."""

import re
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ArtifactError, ConfigError
from shared.ml.backbones import default_encoder_folder, is_default_encoder
from shared.ml.folders import refuse_unsafe_folder

_DATA_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class ResolvedBackbone:
    """A model on disk; `revision` is the commit of a hub id."""

    name: str
    folder: Path
    revision: str | None = None

    @property
    def is_installed(self) -> bool:
        """Whether it is the encoder every installation has, so that artifacts need no copy."""
        return self.revision is None and is_default_encoder(self.name)


def resolve_backbone(name: str, *, option: str = "--base-model ") -> ResolvedBackbone:
    """The folder of a known name, a local folder, or a hub id pinned to its commit.

    `option` says in refusals what the name was given to.

    Raises:
        ConfigError: the model is neither on disk nor to be had from the hub.
        ArtifactError: its folder holds files that could run code.
    """
    if is_default_encoder(name):
        return ResolvedBackbone(name, default_encoder_folder())
    if Path(name).is_dir():
        folder = Path(name).resolve()
        refuse_unsafe_folder(folder)
        return ResolvedBackbone(folder.name, folder)
    return _from_hub(name, option + name)


def _from_hub(name: str, told: str) -> ResolvedBackbone:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if not _HUB_ID.fullmatch(name):
        raise ConfigError(f"{told}: there is no such folder.")
    try:
        folder = Path(snapshot_download(name, allow_patterns=_DATA_FILES))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ConfigError(
            f"{told} is not on this machine and cannot be downloaded "
            f"({type(error).__name__}); name a local folder or all-MiniLM-L6-v2, which is here."
        ) from None
    refuse_unsafe_folder(folder)
    if not list(folder.glob("*.safetensors")):
        raise ArtifactError(f"{told} has no safetensors weights; use another model.")
    return ResolvedBackbone(name, folder, revision=folder.name)
