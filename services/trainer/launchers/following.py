"""A process beside the main one: it trains what it is told, and stores and writes nothing."""

import signal

from services.trainer.config import TrainerSettings
from services.trainer.execution import EXIT_STOPPED
from services.trainer.launchers import world
from services.trainer.progress import Reporter
from shared.errors import RunInterrupted


def follow(settings: TrainerSettings) -> int:
    """Train beside the main process until it goes on alone; the exit status."""
    reporter = Reporter()
    signal.signal(signal.SIGTERM, lambda *_: reporter.ask_to_stop("The run was told to stop."))
    meet(settings)
    work = world.hear()
    try:
        if work is not None:
            work(progress=reporter)
    except world.TrainedBeside:
        return 0
    except RunInterrupted:
        return EXIT_STOPPED
    return 0


def meet(settings: TrainerSettings) -> None:
    """Wait for the other processes of this run, where a launcher started several.

    Raises:
        ConfigError: there are not as many as were asked for.
    """
    here = world.place()
    if here.is_launched:
        world.join(settings.world_size if settings.world_size > 1 else here.world_size)
