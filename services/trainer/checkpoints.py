"""Which of a killed run's checkpoints can be gone on from."""

import json
from pathlib import Path

PPO_STATE = "state.json"  # a folder of ours has its name once it is whole
_WEIGHTS = ("model.safetensors", "adapter_model.safetensors")
_NEEDED = ("optimizer.pt", "scheduler.pt")
_STATE = "trainer_state.json"


def newest_whole_checkpoint(folder: Path, *, weights: str = "model.safetensors") -> str | None:
    """The last `checkpoint-<step>` whose every file is there; None to start from the beginning.

    `trainer_state.json` is written last, so a checkpoint that was cut short lacks it or holds
    only a part of it. One whose best evaluation was at an earlier step needs its weights, too.
    """
    whole = [path for path in folder.glob("checkpoint-*") if _is_whole(path, weights)]
    newest = max(whole, key=step_of, default=None)
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
    return max(kept, key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """The optimizer step after which a checkpoint was saved."""
    return int(checkpoint.name.rsplit("-", 1)[1])


def best_beside(checkpoint: Path) -> Path | None:
    """Where the weights of the best evaluation so far belong; None where none was evaluated."""
    step = json.loads((checkpoint / _STATE).read_text(encoding="utf-8")).get("best_global_step")
    return checkpoint.with_name(f"checkpoint-{step}") if step else None


def needed_from(checkpoint: Path) -> set[Path]:
    """The files of a checkpoint, and the weights of the best evaluation before it."""
    best = best_beside(checkpoint) if (checkpoint / _STATE).is_file() else None
    weights = best.glob("*.safetensors") if best is not None else ()
    return {path for path in (*checkpoint.rglob("*"), *weights) if path.is_file()}


def name_best_here(checkpoint: Path) -> None:
    """Let a checkpoint that came from elsewhere name the best one where it lies now, beside it.

    transformers keeps the whole path, and goes on without the best weights where it leads nowhere.
    """
    best, path = best_beside(checkpoint), checkpoint / _STATE
    state = json.loads(path.read_text(encoding="utf-8"))
    if best is not None and state["best_model_checkpoint"] != str(best):
        aside = path.with_suffix(".partial")
        aside.write_text(json.dumps(state | {"best_model_checkpoint": str(best)}), encoding="utf-8")
        aside.replace(path)


def _is_whole(path: Path, weights: str) -> bool:
    try:
        best = best_beside(path) or path
    except (OSError, ValueError):
        return False
    needed = (path / name for name in (weights, *_NEEDED))
    # One process keeps its random numbers in rng_state.pth, several each in rng_state_<rank>.pth.
    has_random = any(path.glob("rng_state*.pth"))
    return has_random and all(one.is_file() for one in (*needed, best / weights))
