"""A deployment to measure: Postgres, registered artifacts, and the service as a process."""

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from benchmarks.ingest_servers import Server, free_port, wait_until_ready
from benchmarks.serving.load import Target
from benchmarks.serving.models import SECRET
from shared import registry
from shared.artifacts import FolderStore
from shared.db.engine import create_engine, create_sessions
from shared.registry import NewVersion

ROOT = Path(__file__).parents[2]
READY = "/readyz?require=model"


@dataclass(frozen=True)
class Deployment:
    """A migrated database, an artifact store, and a key that may score."""

    database_url: str
    data_dir: Path
    token: str
    secret: str = SECRET

    def environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        """All that a service of it is told, and nothing of our own environment."""
        return {
            "PATH": os.defpath,
            "HEED_DATABASE_URL": self.database_url,
            "HEED_DATA_DIR": str(self.data_dir),
            "HEED_SECRET_KEY": self.secret,
            "HEED_LOG_LEVEL": "WARNING",
            **settings,
        }

    def target(self, server: Server, path: str) -> Target:
        """A route of a running service, with the key."""
        return Target(server.port, path, {"Authorization": f"Bearer {self.token}"})

    async def register(self, folder: Path, name: str = "reward") -> uuid.UUID:
        """Store an artifact as the next version of a model, and promote it."""
        store = FolderStore(self.data_dir / "artifacts")
        uri, sha256 = await asyncio.to_thread(store.put_folder, folder)
        new = NewVersion(kind="embedding", sha256=sha256, uri=uri, metrics={}, name=name)
        async with self._sessions() as sessions, sessions.begin() as session:
            version = await registry.register_version(session, new)
            await registry.promote(session, version.id, reason="a benchmark")
            return version.id

    async def promote(self, version_id: uuid.UUID) -> None:
        """Let the champion be that version."""
        async with self._sessions() as sessions, sessions.begin() as session:
            await registry.promote(session, version_id, reason="a benchmark")

    @asynccontextmanager
    async def _sessions(self) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
        engine = create_engine(self.database_url)
        try:
            yield create_sessions(engine)
        finally:
            await engine.dispose()


@contextmanager
def reward_service(
    deployment: Deployment, settings: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A running reward service with a live model; SIGUSR1 ends one of its scoring threads."""
    port = free_port()
    environment = deployment.environment({"HEED_REWARD_PORT": str(port), **(settings or {})})
    command = [sys.executable, "-m", "benchmarks.serving.server"]
    with subprocess.Popen(command, env=environment, cwd=ROOT) as process:
        try:
            wait_until_ready(port, process, 60, path=READY)
            yield Server(port, process, deployment.database_url)
        finally:
            process.terminate()
            process.wait()


class InProcess:
    """The engine without HTTP, in a process of its own; see `benchmarks.serving.engine`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, do: str, **order: object) -> dict[str, Any]:
        """What it answers to one order."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **order}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The engine's process ended; see its error above.")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def in_process(folder: Path, reference: Path, *, engine: str, threads: int) -> Iterator[InProcess]:
    """The engine of an artifact, with the reference beside it."""
    command = [sys.executable, "-m", "benchmarks.serving.engine", str(folder)]
    command += ["--reference", str(reference), "--engine", engine, "--threads", str(threads)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield InProcess(process)
        finally:
            process.terminate()
