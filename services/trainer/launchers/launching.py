"""The one interface of launchers, and which of them a run is given to."""

import sys
import uuid
from dataclasses import dataclass
from typing import Protocol

from services.trainer.config import LauncherKind, TrainerSettings
from services.trainer.launchers.world import place
from services.trainer.queries import kind_of_run
from shared.contracts.training import RunKind
from shared.db.engine import create_engine, create_sessions
from shared.db.faults import reaching_database
from shared.errors import ConfigError

# Recipes that know how to be one of several processes; every other kind trains in one.
SPREADS = frozenset({RunKind.REWARD_TRANSFORMER, *(kind for kind in RunKind if kind.is_policy)})


@dataclass(frozen=True)
class Unit:
    """What each process of a run executes: `python -m services.trainer` and these words."""

    words: tuple[str, ...]

    @classmethod
    def of_run(cls, run_id: uuid.UUID, attempt: int) -> "Unit":
        """A claimed run."""
        return cls(("--run", str(run_id), "--attempt", str(attempt)))

    @classmethod
    def beside(cls) -> "Unit":
        """Whatever run the main process, on another host, has claimed."""
        return cls(("--beside",))

    @property
    def command(self) -> list[str]:
        """The command of one process."""
        return [sys.executable, "-m", "services.trainer", *self.words]


class Launcher(Protocol):
    """Starts the processes of a run and waits for them."""

    def launch(self, unit: Unit) -> int:
        """The exit status of the main process, or of one that failed before it."""
        ...


def launcher_of(settings: TrainerSettings) -> Launcher | None:
    """What starts the processes of a run; None where this process is all of it, or one of them.

    Raises:
        ConfigError: the settings contradict one another.
    """
    if place().is_launched:
        return None
    if settings.launcher is LauncherKind.LOCAL:
        if settings.world_size > 1:
            raise ConfigError(
                f"{settings.world_size} processes are asked for, and HEED_LAUNCHER=local starts "
                "one: set HEED_LAUNCHER to torchrun or ray."
            )
        return None
    if settings.launcher is LauncherKind.RAY:
        from services.trainer.launchers.over_ray import RayLauncher

        return RayLauncher(settings)
    from services.trainer.launchers.torchrun import Torchrun

    return Torchrun(settings)


async def spreads(url: str, run_id: uuid.UUID) -> bool:
    """Whether a run's recipe can be one of several processes.

    Raises:
        DatabaseUnavailable: the database cannot be reached.
    """
    engine = create_engine(url)
    try:
        with reaching_database():
            async with create_sessions(engine)() as session:
                return await kind_of_run(session, run_id) in SPREADS
    finally:
        await engine.dispose()


def require_alone(settings: TrainerSettings, kind: RunKind) -> None:
    """Refuse to train in a terminal what the settings want on several processes.

    Raises:
        ConfigError: the run has to go through the queue.
    """
    if settings.launcher is not LauncherKind.LOCAL and kind in SPREADS:
        raise ConfigError(
            f"HEED_LAUNCHER={settings.launcher} starts the runs of a worker: add --queue, or set "
            "HEED_LAUNCHER=local to train in this process."
        )
