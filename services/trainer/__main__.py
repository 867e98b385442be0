"""`python -m services.trainer`: the worker; with `--run`, its child; with `--check`, its health."""

import argparse
import asyncio
import sys
import time
import uuid

from services.trainer.config import TrainerSettings
from services.trainer.execution import where, work_on
from services.trainer.worker import LIFE_S, life_file, run_worker
from shared.config import load_settings
from shared.db.connect import resolve_database_url
from shared.errors import HeedError
from shared.logs import configure_logs, get_logger


def main() -> int:
    """The exit status of whichever part was asked for."""
    options = _options()
    try:
        settings = load_settings(TrainerSettings)
        configure_logs(settings.log_level)
        if options.check:
            return _check(settings)
        url = resolve_database_url(settings)
        if options.run is not None:
            return work_on(settings, url, options.run, options.attempt)
        asyncio.run(run_worker(settings, url))
    except HeedError as error:
        sys.stderr.write(f"heed trainer: {error.detail}\n")
        return 1
    except Exception as error:  # noqa: BLE001 - the message could repeat what people wrote
        get_logger("trainer").error("stopped", where=where(error))
        return 1
    return 0


def _check(settings: TrainerSettings) -> int:
    path = life_file(settings)
    is_well = path.exists() and time.time() - path.stat().st_mtime < LIFE_S
    return 0 if is_well else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m services.trainer", description=__doc__)
    parser.add_argument("--check", action="store_true", help="is a worker alive here?")
    parser.add_argument("--run", type=uuid.UUID, help=argparse.SUPPRESS)
    parser.add_argument("--attempt", type=int, default=1, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
