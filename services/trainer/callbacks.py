"""What transformers' trainer calls between its steps: when to evaluate and save, and whom to tell.

It evaluates and saves at each epoch's end by itself, which is when little data is kept from
overfitting; long epochs are evaluated in between too.
"""

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from services.trainer.launchers import world
from services.trainer.progress import stop_requested, track
from services.trainer.trained import Progress
from shared.logs import get_logger

_SHOWN = frozenset({"loss", "accuracy", "epoch", "eval_loss", "eval_accuracy", "learning_rate"})


class ProgressReport(TrainerCallback):
    """Tells `progress` of every step and of what is logged; it may raise to stop the run.

    A run that is asked to stop saves after the step it is in, and ends when that is done. The
    last step of an epoch is saved by the epoch's end, after its evaluation: a run that went on
    from before would skip it. `should_training_stop` stays unset, since a checkpoint that says so
    is one of a run that has come to its end.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step:
            get_logger("trainer").info("goes on from a checkpoint", step=state.global_step)
        self._progress(_done(state), "train", {"step": state.global_step})

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if world.anyone(bool(stop_requested(self._progress))):
            _stop_too(self._progress)  # all processes of the run save, then all end
            control.should_save = control.should_save or not float(state.epoch).is_integer()
        else:
            self._progress(_done(state), "train", {"step": state.global_step})

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        told = {name: one for name, one in (logs or {}).items() if isinstance(one, int | float)}
        track(self._progress, state.global_step, told)
        numbers = {name: float(value) for name, value in told.items() if name in _SHOWN}
        if not stop_requested(self._progress):
            self._progress(_done(state), "train", {"step": state.global_step, **numbers})

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if stop_requested(self._progress):
            self._progress(_done(state), "train", {"step": state.global_step})


def _stop_too(progress: Progress) -> None:
    ask: Callable[[str], None] | None = getattr(progress, "ask_to_stop", None)
    if ask is not None:
        ask("Another process of the run was told to stop.")


def _done(state: Any) -> float:
    """The share of a run that its training loop has behind it."""
    return 0.1 + 0.8 * float(state.global_step / max(state.max_steps, 1))


class StepsWithinEpochs(TrainerCallback):
    """Evaluates and saves every so many steps, and saves whatever evaluation was the best.

    Without the latter the best weights would be lost unless both fall on one step.
    """

    def __init__(self, *, eval_steps: int, save_steps: int) -> None:
        self._eval_steps = eval_steps
        self._save_steps = save_steps

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if float(state.epoch).is_integer():
            return  # the epoch's end comes next
        if state.global_step % self._eval_steps == 0:
            control.should_evaluate = True
        if state.global_step % self._save_steps == 0:
            control.should_save = True

    def on_evaluate(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if state.best_metric is None or more["metrics"]["eval_loss"] < state.best_metric:
            control.should_save = True
