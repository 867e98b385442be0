"""Ray: the processes of a run on the machines of a cluster, started again when a node dies.

Ray Train places one actor for each process; an actor starts the command that every launcher starts
and tells it where the others are. So a run is the same process tree whoever started it, a model
that runs out of memory takes no actor along, and the checkpoints are those of the run's own folder,
on storage that every node sees: a run that began on Ray can go on without it.

A cluster that is named as http://… gets the run as a Ray job, whose driver does the same there.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from services.trainer.config import TrainerSettings
from services.trainer.execution import (
    EXIT_LOST,
    EXIT_REFUSED,
    EXIT_STOPPED,
    EXIT_UNAVAILABLE,
)
from services.trainer.launchers.launching import Unit
from shared.errors import ConfigError

# Endings that are the worker's to deal with; it waits for what is away.
_FINAL = (0, EXIT_REFUSED, EXIT_LOST, EXIT_STOPPED, EXIT_UNAVAILABLE)
_FAILED = 1
_POLL_S = 1.0


class RayLauncher:
    """Starts `launch_processes` on a cluster; see `Launcher`."""

    def __init__(self, settings: TrainerSettings) -> None:
        """Launch as the settings say.

        Raises:
            ConfigError: Ray is not installed.
        """
        # Ray takes this from the environment alone, and would tell its makers of every cluster.
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # noqa: TID251
        try:
            import ray.train  # noqa: F401
        except ImportError:
            raise ConfigError(
                'HEED_LAUNCHER=ray needs Ray: pip install "heed-rlhf[ray]".'
            ) from None
        self._settings = settings

    def launch(self, unit: Unit) -> int:
        """The exit status of rank 0; SIGTERM reaches all processes."""
        if self._settings.launch_ray.startswith(("http://", "https://")):
            return run_job(self._settings.launch_ray, unit)
        return self._train(unit)

    def _train(self, unit: Unit) -> int:
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
        from ray.train.torch import TorchConfig, TorchTrainer

        asked, words = self._settings, list(unit.words)
        with _connected(asked.launch_ray, processes=asked.launch_processes):
            trainer = TorchTrainer(
                run_rank,
                train_loop_config={"words": words},
                torch_config=TorchConfig(backend="gloo"),  # only to agree where to meet
                scaling_config=ScalingConfig(
                    num_workers=asked.launch_processes,
                    resources_per_worker={"CPU": asked.launch_cpus, "GPU": asked.launch_gpus},
                    use_gpu=asked.launch_gpus > 0,
                    placement_strategy="SPREAD",
                ),
                run_config=RunConfig(
                    name="-".join(word.strip("-") for word in words),
                    storage_path=str((asked.artifacts / ".ray").absolute()),
                    failure_config=FailureConfig(max_failures=asked.launch_ray_retries),
                ),
            )
            try:
                found = trainer.fit()
            except (TrainingFailedError, ray.exceptions.RayError) as error:
                sys.stderr.write(f"Ray gave up: {type(error).__name__}\n")
                return _FAILED
            return _FAILED if found.return_value is None else int(found.return_value)


def run_rank(told: Mapping[str, Any]) -> int:
    """What an actor of Ray Train does: run the process of its rank to its end; the exit status.

    Raises:
        RuntimeError: the process crashed; Ray starts all of them again.
    """
    import ray.train

    context = ray.train.get_context()
    rank, size = context.get_world_rank(), context.get_world_size()
    host, port = _meeting_place(rank)
    place = {
        "RANK": rank,
        "WORLD_SIZE": size,
        "LOCAL_RANK": context.get_local_rank(),
        "LOCAL_WORLD_SIZE": context.get_local_world_size(),
        "MASTER_ADDR": host,
        "MASTER_PORT": port,
    }
    command = [sys.executable, "-m", "services.trainer", *told["words"], "--parent", os.getpid()]
    own = {name: str(value) for name, value in place.items()}
    ending = _wait_for([str(word) for word in command], own)
    if ending not in _FINAL:
        raise RuntimeError(f"rank {rank} ended with status {ending}")
    return ending


def _meeting_place(rank: int) -> tuple[str, int]:
    """The address of rank 0 and a free port of it, told over the group that Ray has formed."""
    import ray.util
    import torch.distributed as group

    told: list[Any] = [None]
    if rank == 0:
        with socket.socket() as probe:
            probe.bind(("", 0))
            told = [(ray.util.get_node_ip_address(), probe.getsockname()[1])]
    group.broadcast_object_list(told, src=0)
    host, port = told[0]
    return host, port


def _wait_for(command: list[str], place: Mapping[str, str]) -> int:
    child = subprocess.Popen(command, env={**os.environ, **place})  # noqa: TID251 - inherited
    try:
        return child.wait()
    finally:
        child.kill()
        child.wait()


@contextmanager
def _connected(address: str, *, processes: int) -> Iterator[None]:
    import ray

    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": True}
    try:
        if address == "local":
            ray.init(address="local", num_cpus=processes, include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except Exception as error:  # noqa: BLE001 - Ray raises bare Exception
        raise ConfigError(
            f"HEED_LAUNCH_RAY={address}: no cluster answers ({type(error).__name__}); name its "
            "head as HOST:6379 or http://HOST:8265, or `auto` for the one of this machine."
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def run_job(address: str, unit: Unit) -> int:
    """Submit the unit as a Ray job and wait for it; the exit status of its driver.

    The driver's node has Heed and its settings; only where Ray is, is told to it, and no secret.

    Raises:
        ConfigError: no cluster answers there, or its job server is not installed here.
    """
    from ray.job_submission import JobStatus, JobSubmissionClient

    try:
        client = JobSubmissionClient(address)
        job = client.submit_job(
            entrypoint=" ".join(["python", "-m", "services.trainer", *unit.words]),
            runtime_env={"env_vars": {"HEED_LAUNCHER": "ray", "HEED_LAUNCH_RAY": "auto"}},
        )
    except (ConnectionError, RuntimeError, ImportError) as error:
        raise ConfigError(
            f"HEED_LAUNCH_RAY={address}: no job server answers ({type(error).__name__}); it is the "
            "address of Ray's dashboard, http://HOST:8265."
        ) from None
    signal.signal(signal.SIGTERM, lambda *_: client.stop_job(job))
    while not (status := client.get_job_status(job)).is_terminal():
        time.sleep(_POLL_S)
    sys.stdout.write(client.get_job_logs(job))
    if status is JobStatus.STOPPED:
        return EXIT_STOPPED
    ending = client.get_job_info(job).driver_exit_code
    return _FAILED if ending is None else int(ending)
