"""Where the numbers of a run go besides its row: TensorBoard, MLflow or Weights & Biases.

Nothing leaves the machine unless a run asks for it. A tracker that fails costs a warning and never
the run.
"""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from services.trainer.faults import where
from shared.errors import ConfigError
from shared.logs import get_logger

NONE = "none"
TRACKERS = ("tensorboard", "mlflow", "wandb")


class Tracker(Protocol):
    """Keeps numbers of the steps of one run."""

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Keep what was measured at a step."""
        ...

    def close(self) -> None:
        """Write what is not written yet."""
        ...


def require_tracker(name: str) -> None:
    """Refuse a tracker that is unknown or not installed, before anything is trained.

    Raises:
        ConfigError: the message says what to install.
    """
    if name == NONE:
        return
    if name not in TRACKERS:
        raise ConfigError(f"--report-to {name} is none of {', '.join(TRACKERS)}, {NONE}.")
    if find_spec(name) is None:
        raise ConfigError(
            f'--report-to {name} needs the package {name}: pip install "heed-rlhf[trackers]".'
        )


def open_tracker(name: str, folder: Path, run: str) -> Tracker | None:
    """The tracker of a run, or None when it asks for none.

    Args:
        name: of the tracker.
        folder: where trackers that write files write them.
        run: name of the run.

    Raises:
        ConfigError: it is unknown, not installed, or cannot be reached.
    """
    require_tracker(name)
    if name == NONE:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, Callable[[Path, str], Tracker]] = {
        "tensorboard": _TensorBoard,
        "mlflow": _MLflow,
        "wandb": _Wandb,
    }
    try:
        return _Forgiving(name, kinds[name](folder, run))
    except Exception as error:  # noqa: BLE001 - each library raises its own
        raise ConfigError(
            f"--report-to {name} cannot begin ({type(error).__name__}); look at its server and "
            "login, or leave it out."
        ) from None


class _Forgiving:
    """A tracker whose faults are told once and forgiven."""

    def __init__(self, name: str, inner: Tracker) -> None:
        self._name, self._inner, self._is_well = name, inner, True

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        if self._is_well:
            self._trying(lambda: self._inner.log(step, numbers))

    def close(self) -> None:
        self._trying(self._inner.close)

    def _trying(self, work: Any) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the run matters more
            self._is_well = False
            get_logger("trainer").warning("tracker fails", name=self._name, where=where(error))


class _TensorBoard:
    def __init__(self, folder: Path, run: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder / "tensorboard" / run))

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _MLflow:
    """A run of the experiment `heed`; MLFLOW_TRACKING_URI says where, else a file here."""

    def __init__(self, folder: Path, run: str) -> None:
        import mlflow
        from mlflow.environment_variables import MLFLOW_TRACKING_URI

        if not MLFLOW_TRACKING_URI.is_set():
            mlflow.set_tracking_uri(f"sqlite:///{(folder / 'mlflow.db').absolute()}")
        mlflow.set_experiment("heed")
        mlflow.start_run(run_name=run)
        self._mlflow: Any = mlflow

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._mlflow.log_metrics(dict(numbers), step=step)

    def close(self) -> None:
        self._mlflow.end_run()


class _Wandb:
    """A run of the project `heed`; WANDB_MODE=offline keeps it on this machine."""

    def __init__(self, folder: Path, run: str) -> None:
        import wandb

        self._run: Any = wandb.init(project="heed", name=run, dir=str(folder), reinit=True)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        self._run.finish()
