"""torchrun: the processes of one host, and those of several hosts that meet at an address.

PyTorch's own agent, called from Python and not by its command, since the command answers every
failure with status 1 and the worker has to know how a run ended.
"""

import os
import sys
import uuid
from typing import Any

from services.trainer.config import TrainerSettings
from services.trainer.execution import EXIT_STOPPED
from services.trainer.launchers.launching import Unit
from shared.errors import ConfigError

_FAILED = 1
_MEETING_S = 900  # within which all hosts have to be there


class Torchrun:
    """Starts `launch_processes` on this host; see `Launcher`."""

    def __init__(self, settings: TrainerSettings) -> None:
        """Launch as the settings say.

        Raises:
            ConfigError: several hosts without a place to meet, or a host that is none of them.
        """
        self._settings = settings
        if settings.launch_hosts > 1 and not settings.launch_rendezvous:
            raise ConfigError(
                f"HEED_LAUNCH_HOSTS={settings.launch_hosts} needs HEED_LAUNCH_RENDEZVOUS, "
                "HOST:PORT of host 0, which every host reaches."
            )
        if settings.launch_host >= settings.launch_hosts:
            raise ConfigError(
                f"HEED_LAUNCH_HOST={settings.launch_host} is none of the "
                f"{settings.launch_hosts} hosts; they are counted from 0."
            )

    def launch(self, unit: Unit) -> int:
        """The exit status of rank 0, or of the rank that failed first; SIGTERM reaches all."""
        from torch.distributed.elastic.multiprocessing.api import SignalException
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        from torch.distributed.launcher.api import LaunchConfig, elastic_launch

        start = elastic_launch(LaunchConfig(**self._config()), sys.executable)
        try:
            start(*unit.command[1:], "--parent", str(os.getpid()))
        except ChildFailedError as error:
            return _status(error.failures)
        except SignalException:
            return EXIT_STOPPED
        return 0

    def _config(self) -> dict[str, Any]:
        settings = self._settings
        meeting: dict[str, Any] = {
            "rdzv_backend": "c10d",
            "rdzv_endpoint": "localhost:0",
            "run_id": str(uuid.uuid4()),
        }
        if settings.launch_hosts > 1:  # static: rank 0 has to be on host 0, where the worker is
            meeting = {
                "rdzv_backend": "static",
                "rdzv_endpoint": settings.launch_rendezvous,
                "rdzv_configs": {"rank": settings.launch_host, "timeout": _MEETING_S},
                "run_id": "heed",
            }
        return meeting | {
            "min_nodes": settings.launch_hosts,
            "max_nodes": settings.launch_hosts,
            "nproc_per_node": settings.launch_processes,
            "max_restarts": 0,  # the queue tries again, under another attempt
            "shutdown_timeout": int(settings.worker_grace_s),
        }


def _status(failures: dict[int, Any]) -> int:
    """How rank 0 ended by itself, else a plain failure: others may fail since it ended."""
    main = failures.get(0)
    return int(main.exitcode) if main is not None and main.exitcode > 0 else _FAILED
