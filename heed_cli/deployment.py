"""One deployment on one machine: Postgres, the schema, the services and a development key."""

import fcntl
import importlib.util
import ipaddress
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from heed_cli.config import DeploymentSettings
from heed_cli.processes import Process, ProcessFolder, Program
from shared.config import load_settings
from shared.errors import ConfigError, Conflict, Unavailable

FEEDBACK_API, REWARD_SERVICE, TRAINER = "feedback_api", "reward_service", "trainer"
SERVICES = (FEEDBACK_API, REWARD_SERVICE, TRAINER)
UNFINISHED_RESTORE = "restore.partial"
# Feedback first, so that nothing new arrives; each drains what it has accepted.
_STOP_ORDER = (FEEDBACK_API, TRAINER, REWARD_SERVICE)
_GRACE_S = 45.0  # longer than a run may take to save a checkpoint, HEED_WORKER_GRACE_S
_READY_WITHIN_S = 120.0
_LOCK_WITHIN_S = 240.0
_LIFE_S = 30.0  # a worker whose sign of life is older does not work
_POLL_S = 0.1
# A module that only the extra of a service brings.
_NEEDS = {REWARD_SERVICE: ("torch", "reward"), TRAINER: ("trl", "trainer")}


@dataclass(frozen=True)
class Step:
    """One thing that was brought up, for the terminal."""

    name: str
    text: str
    is_fine: bool = True


@dataclass(frozen=True)
class Deployment:
    """The data dir, where the services listen, and settings that only its processes get."""

    settings: DeploymentSettings
    extra: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, data_dir: Path | None) -> "Deployment":
        """The deployment of our environment, or of a given data dir."""
        given = {"data_dir": data_dir} if data_dir else {}
        return cls(load_settings(DeploymentSettings, **given))

    @property
    def processes(self) -> ProcessFolder:
        """The records and logs of its processes."""
        return ProcessFolder(self.settings.data_dir)

    @property
    def is_embedded(self) -> bool:
        """Whether it has its own Postgres in the data dir."""
        return self.settings.database_url is None

    @property
    def key_file(self) -> Path:
        """Where the development key lies."""
        return self.settings.data_dir / "dev.key"

    @property
    def sign_of_life(self) -> Path:
        """The file that a healthy worker touches all the time."""
        return self.processes.run / "worker.alive"

    def address(self, service: str) -> tuple[str, int] | None:
        """Host and port of a service, None for one that does not listen."""
        given = self.settings
        return {
            FEEDBACK_API: (given.feedback_host, given.feedback_port),
            REWARD_SERVICE: (given.reward_host, given.reward_port),
        }.get(service)

    def url(self, service: str) -> str | None:
        """Where a service answers on this machine, None for one that does not listen."""
        address = self.address(service)
        return address and _url(*address)

    def program(self, service: str) -> Program:
        """How a service is started."""
        given = self.settings
        settings = {
            "HEED_DATA_DIR": str(given.data_dir),
            "HEED_FEEDBACK_HOST": given.feedback_host,
            "HEED_FEEDBACK_PORT": str(given.feedback_port),
            "HEED_REWARD_HOST": given.reward_host,
            "HEED_REWARD_PORT": str(given.reward_port),
            **self.extra,
        }
        return Program(service, f"services.{service}", settings, self.url(service))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else brings this deployment up or down meanwhile."""
        self.processes.make()
        with (self.processes.run / "up.lock").open("a") as lock:
            deadline = time.monotonic() + _LOCK_WITHIN_S
            while not _take(lock.fileno()):
                if time.monotonic() > deadline:
                    raise Conflict(
                        f"Another `heed up` or `heed down` of {self.settings.data_dir} does not "
                        "finish: end it, then try again."
                    )
                time.sleep(_POLL_S)
            yield


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _url(host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def missing_extra(service: str) -> str | None:
    """The extra that a service needs and that is not installed."""
    module, extra = _NEEDS.get(service, (None, None))
    return extra if module and importlib.util.find_spec(module) is None else None


def bring_up(deployment: Deployment, *, wait: bool = True) -> Iterator[Step]:
    """Start what does not run yet, step by step; what runs is left alone.

    Raises:
        HeedError: something cannot start; what was started before it stays up.
    """
    from heed_cli.database import upgrade
    from shared.db.connect import resolve_database_url

    if (deployment.settings.data_dir / UNFINISHED_RESTORE).exists():
        raise Conflict(
            f"A restore into {deployment.settings.data_dir} did not finish: run it again."
        )
    with deployment.locked():
        url = resolve_database_url(deployment.settings, start=True)
        yield Step("postgres", _postgres(deployment))
        yield Step("schema", upgrade(url))
        started = [_start(deployment, s) for s in SERVICES if missing_extra(s) is None]
        for process in started if wait else ():
            yield Step(process.name, wait_until_ready(deployment, process))
        for service in filter(missing_extra, SERVICES):
            pip = f'pip install "heed-rlhf[{missing_extra(service)}]"'
            yield Step(service, f"not installed: {pip}", is_fine=False)
        _prepare_dev_key(deployment, url)


def _postgres(deployment: Deployment) -> str:
    from shared.db import embedded

    if not deployment.is_embedded:
        return "at HEED_DATABASE_URL"
    found = embedded.status(deployment.settings.data_dir)
    return f"{found.version}, process {found.pid}"


def _prepare_dev_key(deployment: Deployment, url: str) -> None:
    """Only where nobody else can reach the services: the key may do everything."""
    from heed_cli.dev_key import prepare_dev_key

    hosts = (deployment.settings.feedback_host, deployment.settings.reward_host)
    if all(map(is_loopback, hosts)):
        prepare_dev_key(url, deployment.key_file)


def _start(deployment: Deployment, service: str) -> Process:
    running = deployment.processes.find(service)
    if running is not None and running.is_alive:
        return running
    if address := deployment.address(service):
        require_free(service, *address)
    return deployment.processes.start(deployment.program(service))


def require_free(service: str, host: str, port: int) -> None:
    """Say which port is taken, and by which setting to move; the service itself cannot wait."""
    setting = "HEED_FEEDBACK" if service == FEEDBACK_API else "HEED_REWARD"
    try:
        family, kind, proto, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except socket.gaierror:
        raise ConfigError(f"{setting}_HOST={host} is not an address of this machine.") from None
    except OSError as error:
        raise ConfigError(
            f"{service} cannot listen on {host}:{port} ({error.strerror}): free the port, or set "
            f"{setting}_PORT to another one."
        ) from None


def wait_until_ready(deployment: Deployment, process: Process) -> str:
    """Where a process answers, once it is ready.

    Raises:
        Unavailable: it stopped, or is not ready in time; the message holds its last line.
    """
    deadline = time.monotonic() + _READY_WITHIN_S
    while not is_ready(deployment, process):
        if not process.is_alive:
            raise _not_up(deployment, process.name, "stopped right after its start")
        if time.monotonic() > deadline:
            raise _not_up(deployment, process.name, f"is not ready after {_READY_WITHIN_S:g} s")
        time.sleep(_POLL_S)
    return process.url or f"process {process.pid}"


def is_ready(deployment: Deployment, process: Process) -> bool:
    """Whether a service answers, or the worker has given a sign of life of late."""
    if process.url is not None:
        return readiness(process.url) is not None
    sign = deployment.sign_of_life
    touched = sign.stat().st_mtime if sign.exists() else 0.0
    return process.is_alive and touched > max(process.started_at, time.time() - _LIFE_S)


def readiness(url: str, path: str = "/readyz") -> dict[str, object] | None:
    """What a service says of itself, None while it is not ready."""
    try:
        reply = httpx.get(url + path, timeout=2, trust_env=False)
        return dict(reply.json()) if reply.is_success else None
    except (httpx.HTTPError, ValueError, TypeError):
        return None


def _not_up(deployment: Deployment, name: str, what: str) -> Unavailable:
    processes = deployment.processes
    said = processes.last_words(name)
    return Unavailable(f"{name} {what}. Its log {processes.log(name)} ends with: {said}")


def bring_down(deployment: Deployment) -> Iterator[Step]:
    """Stop everything in order, the database last."""
    from shared.db import embedded

    with deployment.locked():
        for service in _STOP_ORDER:
            if deployment.processes.stop(service, grace_s=_GRACE_S):
                yield Step(service, "stopped")
        if deployment.is_embedded and embedded.stop(deployment.settings.data_dir):
            yield Step("postgres", "stopped")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an interface."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
