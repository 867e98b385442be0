"""The nginx of deploy/nginx/replicas.conf in front of servers of this machine."""

import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

CONFIG = Path(__file__).parents[2] / "deploy/nginx/replicas.conf"
SERVICES = ("reward_service:8001", "reward_service_2:8001")


@dataclass(frozen=True)
class Proxy:
    """A running nginx; `log` has a line per request, which ends in who was asked and their say."""

    url: str
    log: Path

    def asked(self) -> list[tuple[list[str], list[str]]]:
        """By request the addresses that were asked in turn, and their statuses."""
        lines = self.log.read_text().splitlines()
        return [_tries(line.split('" ', 1)[1].split(" ", 2)[2]) for line in lines]


def _tries(text: str) -> tuple[list[str], list[str]]:
    words = text.replace(",", "").split()
    half = len(words) // 2
    return words[:half], words[half:]


@contextmanager
def nginx(ports: Sequence[int]) -> Iterator[Proxy]:
    """nginx with the config as it is shipped, except for addresses and folders."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("NGINX IS MISSING: nothing in front of the replicas is tested; install nginx")
    folder = Path(tempfile.mkdtemp(prefix="heed-test-"))
    folder.chmod(0o755)  # started by root, its workers are nobody's
    port, log = free_port(), folder / "access.log"
    config = folder / "nginx.conf"
    config.write_text(_local(CONFIG.read_text(), program, folder=folder, ports=(port, *ports)))
    try:
        with (folder / "errors.log").open("wb") as errors:
            process = subprocess.Popen([program, "-c", config, "-p", folder], stderr=errors)
        try:
            _until_open(port, process, folder / "errors.log")
            yield Proxy(f"http://127.0.0.1:{port}", log)
        finally:
            process.terminate()
            process.wait(20)
    finally:
        shutil.rmtree(folder)


def _local(text: str, program: str, *, folder: Path, ports: Sequence[int]) -> str:
    """The config for this machine; names of containers are resolved by newer versions only."""
    for service, port in zip(SERVICES, ports[1:], strict=True):
        assert text.count(f"server {service} ") == 1, f"{service} is not in the config"
        text = text.replace(f"server {service} ", f"server 127.0.0.1:{port} ")
    text = text.replace("listen 8002;", f"listen 127.0.0.1:{ports[0]};")
    text = re.sub(r"\n *resolver .*;", "", text).replace(" resolve ", " ")
    return text.replace(" /tmp/", f" {folder}/").replace("/dev/stdout", f"{folder}/access.log")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _until_open(port: int, process: subprocess.Popen[bytes], errors: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise AssertionError(f"nginx did not start: {errors.read_text()}")
