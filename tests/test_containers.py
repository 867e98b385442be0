"""What the images and the compose file run, run here without a container engine.

The Dockerfile's own install lines go, in order, into one fresh virtual environment fed with what
the build context would hold; then each compose command runs from there as a real process, with the
compose environment, until its own health check passes.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from shared.db import embedded

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
GIVEN = {"POSTGRES_PASSWORD": "not-a-real-password", "HEED_SECRET_KEY": "k" * 32}
HOST = "127.0.0.1"
pytestmark = pytest.mark.slow


@dataclass
class Deployment:
    """One fresh environment, one data folder, one Postgres, two free ports."""

    folder: Path
    context: Path
    database_url: str
    ports: dict[str, str]
    first_image_has_torch: bool = False

    @property
    def bin(self) -> Path:
        return self.folder / "venv" / "bin"

    def environment(self, service: str) -> dict[str, str]:
        """The compose environment of a service, its variables filled in for this machine."""
        declared = {
            k: substituted(str(v)) for k, v in COMPOSE["services"][service]["environment"].items()
        }
        return declared | {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "HEED_DATABASE_URL": self.database_url,
            "HEED_DATA_DIR": str(self.folder / "data"),
            "HEED_FEEDBACK_PORT": self.ports["8000"],
            "HEED_REWARD_PORT": self.ports["8001"],
            "HOME": str(self.folder),
        }

    def command(self, words: list[str]) -> list[str]:
        """A compose command with the fixed container ports replaced by the free ones."""
        local = [re.sub(r"127\.0\.0\.1:(800[01])", self._port, word) for word in words]
        return [str(self.bin / local[0]), *local[1:]]

    def _port(self, match: re.Match[str]) -> str:
        return f"{HOST}:{self.ports[match.group(1)]}"


def substituted(text: str) -> str:
    """Compose's `${NAME:-default}` and `${NAME:?message}`."""
    pattern = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
    return pattern.sub(lambda m: GIVEN.get(m[1], m[3] if m[2] == "-" else ""), text)


def install_lines(stage: str) -> list[str]:
    """The `RUN pip …` lines of one build stage."""
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    (body,) = [s for s in stages if re.match(rf"\S+ AS {stage}\n", s)]
    return re.findall(r"^RUN (pip .*)$", body, flags=re.MULTILINE)


def build_context(folder: Path) -> Path:
    """The files `.dockerignore` lets through, copied."""
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"]
    for name in kept:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            shutil.copy(source, target)
    return folder


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return str(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server() -> Iterator[embedded.EmbeddedPostgres]:
    folder = Path(tempfile.mkdtemp(prefix="heed-test-"))
    yield embedded.start(folder)
    embedded.stop(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def deployment(server: embedded.EmbeddedPostgres) -> Iterator[Deployment]:
    """The first image's lines are installed and its migration has run; the others build on it."""
    folder = Path(tempfile.mkdtemp(prefix="heed-test-"))
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    ports = {"8000": free_port(), "8001": free_port()}
    made = Deployment(folder, build_context(folder / "context"), server.url("heed"), ports)
    install(made, "build-feedback_api")
    made.first_image_has_torch = imports(made, "torch")
    migrate = made.command(COMPOSE["services"]["migrate"]["command"])
    subprocess.run(migrate, env=made.environment("migrate"), cwd=folder, check=True)
    yield made
    shutil.rmtree(folder)


def install(deployment: Deployment, stage: str) -> None:
    for line in install_lines(stage):
        path = f"{deployment.bin}:{os.environ['PATH']}"  # noqa: TID251 - pip's own settings
        env = os.environ | {"PATH": path, "PYTHONPATH": ""}  # noqa: TID251
        subprocess.run(["/bin/sh", "-c", line], cwd=deployment.context, env=env, check=True)


def imports(deployment: Deployment, module: str) -> bool:
    command = [deployment.bin / "python", "-c", f"import {module}"]
    return subprocess.run(command, cwd=deployment.folder, capture_output=True).returncode == 0


def run_until_healthy(deployment: Deployment, service: str) -> None:
    """Start the compose command, wait for its own health check, stop it with SIGTERM."""
    declared = COMPOSE["services"][service]
    env = deployment.environment(service)
    check = deployment.command(declared["healthcheck"]["test"][1:])
    process = subprocess.Popen(
        deployment.command(declared["command"]), env=env, cwd=deployment.folder
    )
    try:
        deadline = time.monotonic() + 90
        while subprocess.run(check, env=env, capture_output=True).returncode:
            assert process.poll() is None, f"{service} ended with {process.returncode}"
            assert time.monotonic() < deadline, f"{service} never became healthy"
            time.sleep(0.5)
    finally:
        process.terminate()
        process.wait(30)
    assert process.returncode in (0, -15)


def test_the_feedback_image_serves_and_brings_no_torch(deployment: Deployment):
    run_until_healthy(deployment, "feedback_api")

    assert not deployment.first_image_has_torch


def test_postgres_knows_every_setting_the_compose_file_gives_it(server: embedded.EmbeddedPostgres):
    words = COMPOSE["services"]["postgres"]["command"]
    given = [word.split("=")[0] for word in words if "=" in word]

    known = embedded.run_binary(
        "psql", ["-qAt", "-d", server.url(), "-c", "SELECT name FROM pg_settings"]
    ).decode()

    assert set(given) <= set(known.split())


def test_the_compose_file_lets_postgres_log_no_more_than_the_embedded_one(
    server: embedded.EmbeddedPostgres,
):
    words = COMPOSE["services"]["postgres"]["command"]
    given = {word for word in words if word.startswith("log_")}

    shown = embedded.run_binary(
        "psql",
        ["-qAt", "-F=", "-d", server.url(), "-c", "SELECT name, setting FROM pg_settings"],
    ).decode()

    about_texts = ("log_min_messages", "log_min_error", "log_error", "log_statement=", "log_param")
    assert given == {line for line in shown.split() if line.startswith(about_texts)}


def test_the_reward_image_serves_without_the_trainer(deployment: Deployment):
    install(deployment, "build-reward_service")
    assert not imports(deployment, "trl")

    run_until_healthy(deployment, "reward_service")


def test_the_trainer_image_waits_for_runs(deployment: Deployment):
    install(deployment, "build-trainer")

    run_until_healthy(deployment, "trainer")
    assert subprocess.run([deployment.bin / "pip", "check"]).returncode == 0


def test_every_compose_service_is_bounded_and_unprivileged():
    for name, service in COMPOSE["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
        assert "healthcheck" in service, name
    assert COMPOSE["services"]["postgres"]["user"] == "postgres"
    assert "USER 10001" in (ROOT / "Dockerfile").read_text()
    assert json.dumps(COMPOSE).count(":latest") == 0
