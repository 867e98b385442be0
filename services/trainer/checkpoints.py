"""Which of a killed run's checkpoints can be gone on from."""

import json
from pathlib import Path

PPO_STATE = "state.json"  # a folder of ours has its name once it is whole
_WEIGHTS = ("model.safetensors", "adapter_model.safetensors")
_NEEDED = ("optimizer.pt", "scheduler.pt", "rng_state.pth")


def newest_whole_checkpoint(folder: Path, *, weights: str = "model.safetensors") -> str | None:
    """The last `checkpoint-<step>` whose every file is there; None to start from the beginning.

    `trainer_state.json` is written last, so a checkpoint that was cut short lacks it or holds
    only a part of it.
    """
    whole = [path for path in folder.glob("checkpoint-*") if _is_whole(path, weights)]
    newest = max(whole, key=lambda path: int(path.name.rsplit("-", 1)[1]), default=None)
    return str(newest) if newest else None


def newest_of_any_kind(folder: Path) -> Path | None:
    """The last whole checkpoint of whichever recipe trains in this folder."""
    parents = {path.parent for path in folder.rglob("checkpoint-*")}
    kept = [
        Path(found)
        for parent in parents
        for weights in _WEIGHTS
        if (found := newest_whole_checkpoint(parent, weights=weights)) is not None
    ]
    kept += [path.parent for path in folder.rglob(f"checkpoint-*/{PPO_STATE}")]
    return max(kept, key=lambda path: int(path.name.rsplit("-", 1)[1]), default=None)


def _is_whole(path: Path, weights: str) -> bool:
    try:
        json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return all((path / name).is_file() for name in (weights, *_NEEDED))
