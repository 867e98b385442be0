"""What the ingest benchmark runs on: a Postgres on a real disk, servers, CPU times, wrk."""

import asyncio
import json
import os
import platform
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import typer

from shared.db import embedded
from shared.db.engine import create_engine, create_sessions
from shared.db.migrate import upgrade
from shared.keys import Scope, create_key

HERE = Path(__file__).parent
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
START_S = 30


@dataclass(frozen=True)
class Place:
    """A data dir with a migrated Postgres and a key; `template` is never written to."""

    data_dir: Path
    postgres: embedded.EmbeddedPostgres
    token: str
    template: str

    def new_database(self) -> str:
        """The URL of a fresh database with all tables, the key and no rows."""
        name = f"bench_{secrets.token_hex(6)}"
        statement = f'CREATE DATABASE "{name}" TEMPLATE "{self.template}"'
        asyncio.run(execute(self.postgres.url("postgres"), statement))
        return self.postgres.url(name)

    def drop_database(self, url: str) -> None:
        """Free its disk space again."""
        name = url.partition("?")[0].rpartition("/")[2]
        statement = f'DROP DATABASE "{name}"'
        asyncio.run(execute(self.postgres.url("postgres"), statement))

    def postgres_cpu_s(self) -> float:
        """CPU seconds of the server and of all its processes, ended ones too."""
        mine = [pid for pid in _processes() if _stat(pid)[1] == self.postgres.pid]
        return _cpu_s(self.postgres.pid, ended=True) + sum(map(_cpu_s, mine))


@contextmanager
def place(under: Path) -> Iterator[Place]:
    """A place in a new folder, removed at the end."""
    under.mkdir(parents=True, exist_ok=True)
    data_dir = Path(tempfile.mkdtemp(prefix="ingest-", dir=under))
    try:
        postgres = embedded.start(data_dir)
        upgrade(postgres.url())
        token = asyncio.run(_new_key(postgres.url()))
        yield Place(data_dir, postgres, token, template="heed")
    finally:
        embedded.stop(data_dir, mode="immediate")
        shutil.rmtree(data_dir)


async def _new_key(url: str) -> str:
    engine = create_engine(url)
    try:
        async with create_sessions(engine).begin() as session:
            return await create_key(session, name="benchmark", scopes=list(Scope))
    finally:
        await engine.dispose()


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@dataclass
class Server:
    """One running API process."""

    port: int
    process: subprocess.Popen[bytes]
    url: str = ""

    @property
    def cpu_s(self) -> float:
        return _cpu_s(self.process.pid)

    @property
    def rss_mb(self) -> float:
        return self._status("VmRSS")

    @property
    def peak_rss_mb(self) -> float:
        return self._status("VmHWM")

    def _status(self, name: str) -> float:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as reply:
            lines = reply.read().decode().splitlines()
        return sum(float(it.split()[-1]) for it in lines if it.split("{")[0].split()[0] == name)


@contextmanager
def serving(
    place: Place, path: str, *, settings: Mapping[str, str] | None = None, beside: str = ""
) -> Iterator[Server]:
    """A server of that path, with nothing of our own environment.

    Its database is its own, and dropped at the end; or that of another server, by its URL.
    """
    port, url = free_port(), beside or place.new_database()
    environment = {
        "PATH": os.defpath,
        "HEED_DATA_DIR": str(place.data_dir),
        "HEED_DATABASE_URL": url,
        "HEED_LOG_LEVEL": "WARNING",
        **(settings or {}),
    }
    command = [sys.executable, str(HERE / "ingest_server.py"), path, str(port)]
    with subprocess.Popen(command, env=environment, cwd=HERE.parent) as process:
        try:
            wait_until_ready(port, process)
            yield Server(port, process, url)
        finally:
            process.terminate()
            process.wait()
    if not beside:
        place.drop_database(url)


def wait_until_ready(
    port: int, process: subprocess.Popen[bytes], within_s: float = START_S, path: str = "/healthz"
) -> None:
    """Return once the server replies; raises RuntimeError when it ends or takes too long."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{path}"):
            return
        time.sleep(0.05)
    raise RuntimeError(f"The server on port {port} did not start.")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Run:
    """One run of wrk against one server."""

    requests_per_s: float
    app_cpu_us: float
    postgres_cpu_us: float
    p50_ms: float
    p99_ms: float
    failed_replies: int
    connection_errors: int
    timeouts: int
    statuses: dict[str, int] = field(default_factory=dict)
    refusals_without_retry_after: int = 0


def wrk(
    place: Place,
    server: Server,
    kind: str,
    *,
    seconds: float,
    connections: int = 64,
    count: bool = False,
) -> Run:
    """What wrk saw, and what it cost. `count` counts replies by status, at wrk's own cost."""
    command = [
        *(_wrk_program(), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s"),
        *("-s", str(HERE / "ingest.lua"), f"http://127.0.0.1:{server.port}", "--"),
        *(kind, secrets.token_hex(4), place.token, *(["count"] if count else [])),
    ]
    app, database = server.cpu_s, place.postgres_cpu_s()
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    spent = server.cpu_s - app, place.postgres_cpu_s() - database
    seen = json.loads(next(line[4:] for line in said.splitlines() if line.startswith("JSON")))
    requests = max(1, seen.pop("requests"))
    return Run(
        requests_per_s=requests / seen.pop("seconds"),
        app_cpu_us=spent[0] / requests * 1e6,
        postgres_cpu_us=spent[1] / requests * 1e6,
        **seen,
    )


def _wrk_program() -> str:
    found = shutil.which("wrk")
    if found is None:
        raise typer.BadParameter("wrk is not installed: `apt install wrk` or `brew install wrk`.")
    return found


def machine(folder: Path) -> dict[str, Any]:
    """What the numbers depend on."""
    cpu = Path("/proc/cpuinfo").read_text()
    model = next((it.partition(": ")[2] for it in cpu.splitlines() if "model name" in it), "")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "file_system": _file_system(folder),
        "fdatasync_ms": round(_fdatasync_ms(folder), 3),
        "load_before": os.getloadavg()[0],
    }


def _file_system(folder: Path) -> str:
    """The type of the file system with the longest mount point above the folder."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(len(at), kind) for at, kind in mounts if folder.resolve().is_relative_to(at)]
    return max(above)[1]


def _fdatasync_ms(folder: Path) -> float:
    """Median time to make 8 KiB durable."""
    times = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(50):
            began = time.perf_counter()
            file.write(bytes(8192))
            file.flush()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _stat(pid: int) -> list[int]:
    """The numbers of /proc/PID/stat after the name: state, parent, …; zeros once it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return [0] * 20
    return [0, *map(int, text[1:20])]


def _cpu_s(pid: int, *, ended: bool = False) -> float:
    """User and system CPU seconds of a process; with those of its ended children if asked."""
    return sum(_stat(pid)[11 : 15 if ended else 13]) / TICKS_PER_S
