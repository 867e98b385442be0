"""Which model folders are safe to open, and the hash that pins one."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from shared.errors import ArtifactError

_CODE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".joblib", ".ckpt", ".py"})
_BACKBONE_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".model", ".jinja"})
_NOT_BACKBONE = frozenset(
    {
        "audit.json",
        "data_config.json",
        "domain.safetensors",
        "head.safetensors",
        "posterior.safetensors",
        "reward_model.json",
        "trainer_state.json",
    }
)


def refuse_unsafe_folder(folder: Path) -> None:
    """Pass only a folder whose files cannot run code when they are read.

    Raises:
        ArtifactError: there is no folder, or it holds pickles, Python or remote-code hooks.
    """
    if not folder.is_dir():
        raise ArtifactError(f"There is no model folder {folder}; check the path.")
    for path in _files(folder):
        if path.suffix.lower() in _CODE_SUFFIXES:
            raise ArtifactError(
                f"{folder} holds {path.name}, which can run code when loaded; "
                "convert the weights to safetensors and remove that file."
            )
        if path.suffix == ".json" and "auto_map" in _top_level_keys(path):
            raise ArtifactError(
                f"{path} asks for remote code (auto_map), which is never run; use another model."
            )


def sha256_of_file(path: Path) -> str:
    """Hex SHA-256 of one file's bytes."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def sha256_of_backbone(folder: Path) -> str:
    """Hex SHA-256 over the weights, configuration and tokenizer files of a model folder."""
    digest = hashlib.sha256()
    for path in backbone_files(folder):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256_of_file(path)}\n".encode())
    return digest.hexdigest()


def backbone_files(folder: Path) -> list[Path]:
    """The files of a model folder that decide its numbers, sorted by relative path."""
    return [
        path
        for path in _files(folder)
        if path.suffix in _BACKBONE_SUFFIXES and path.name not in _NOT_BACKBONE
    ]


def read_json(path: Path) -> dict[str, object]:
    """A JSON object from a model folder.

    Raises:
        ArtifactError: the file is missing or is not a JSON object.
    """
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read as JSON: {type(error).__name__}.") from None
    if not isinstance(loaded, dict):
        raise ArtifactError(f"{path} does not hold a JSON object.")
    return loaded


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _top_level_keys(path: Path) -> set[str]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()
    return set(loaded) if isinstance(loaded, dict) else set()
