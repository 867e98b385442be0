"""What `python -m services.trainer` does in each of its roles, and how it ends."""

import asyncio
import sys
import time
import uuid
from collections.abc import Callable

from services.trainer.child_jobs import do_claimed
from services.trainer.config import TrainerSettings
from services.trainer.execution import EXIT_UNAVAILABLE, work_on
from services.trainer.faults import where
from services.trainer.launchers import world
from services.trainer.launchers.following import follow, meet
from services.trainer.launchers.launching import Unit, launcher_of, spreads
from services.trainer.worker import LIFE_S, life_file, run_worker
from shared.config import load_settings
from shared.db.connect import resolve_database_url
from shared.errors import (
    ConfigError,
    DatabaseUnavailable,
    HeedError,
    SchemaOutdated,
    StoreUnavailable,
)
from shared.logs import configure_logs, get_logger


def be_worker() -> int:
    """Work through the queues until told to stop; the exit status."""
    settings = _settings()
    asyncio.run(run_worker(settings, resolve_database_url(settings)))
    return 0


def be_child(run_id: uuid.UUID, attempt: int) -> int:
    """Execute one claimed run, in as many processes as it is to have; the exit status."""
    settings = _settings()
    if not world.is_main():
        return follow(settings)
    url = resolve_database_url(settings)
    launcher = launcher_of(settings)
    if launcher is not None and asyncio.run(spreads(url, run_id)):
        return launcher.launch(Unit.of_run(run_id, attempt))
    meet(settings)
    return work_on(settings, url, run_id, attempt)


def be_beside() -> int:
    """Train on this host what the worker of host 0 has claimed; the exit status.

    Raises:
        ConfigError: the settings say nothing of other hosts.
    """
    settings = _settings()
    if not world.is_main():
        return follow(settings)
    launcher = launcher_of(settings)
    if launcher is None or not settings.launch_host:
        raise ConfigError(
            "--beside needs HEED_LAUNCHER=torchrun, HEED_LAUNCH_HOSTS, HEED_LAUNCH_RENDEZVOUS and "
            "HEED_LAUNCH_HOST, which is 1 or more here; host 0 runs the worker."
        )
    return launcher.launch(Unit.beside())


def be_job_child(job_id: uuid.UUID, attempt: int) -> int:
    """Do one claimed job; the exit status."""
    settings = _settings()
    return asyncio.run(do_claimed(settings, resolve_database_url(settings), job_id, attempt))


def is_worker_alive() -> int:
    """0 when a worker of this data dir gave a sign of life lately, else 1."""
    path = life_file(_settings())
    return 0 if path.exists() and time.time() - path.stat().st_mtime < LIFE_S else 1


def ending_in_one_line(role: Callable[[], int]) -> int:
    """The role's exit status; 1 and one line on standard error when it failed.

    A child that found no database, no bucket or another schema says so by its status, and its run
    waits instead of failing.
    """
    try:
        return role()
    except (DatabaseUnavailable, StoreUnavailable, SchemaOutdated) as error:
        sys.stderr.write(f"heed trainer: {error.detail}\n")
        return EXIT_UNAVAILABLE
    except HeedError as error:
        sys.stderr.write(f"heed trainer: {error.detail}\n")
    except Exception as error:  # noqa: BLE001 - the message could repeat what people wrote
        get_logger("trainer").error("stopped", where=where(error))
    return 1


def _settings() -> TrainerSettings:
    settings = load_settings(TrainerSettings)
    configure_logs(settings.log_level)
    return settings
