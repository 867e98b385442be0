"""The examples run as their pages say, against a real service."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def environment(url: str, token: str) -> dict[str, str]:
    """What the examples are told; no reward service runs."""
    path = os.environ["PATH"]  # noqa: TID251 - for the programs that are started
    nowhere = "http://127.0.0.1:9"
    return {
        "PATH": path,
        "HEED_URL": url,
        "HEED_REWARD_URL": nowhere,
        "HEED_API_KEY": token,
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@contextmanager
def running(
    module: str,
    *arguments: str,
    environment: dict[str, str],
    until: Callable[[Callable[[], bool]], None],
) -> Iterator[httpx.Client]:
    """A client of a Python program that listens on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", module, *arguments, "--port", str(port)]
    with (
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http,
    ):
        until(lambda: process.poll() is not None or _listens(port))
        yield http
        process.terminate()
        process.communicate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_flask_page_responds_and_takes_a_thumb(client, environment, until, tmp_path):
    shutil.copytree(EXAMPLES / "flask", tmp_path / "example")
    app = ["--app", str(tmp_path / "example" / "app.py"), "run"]
    with running("flask", *app, environment=environment, until=until) as page:
        shown = page.post("/ask", data={"prompt": "Explain <b>tides</b>"}).text
        interaction_id = re.search(r"/feedback/(\w+)", shown)[1]
        reply = page.post(f"/feedback/{interaction_id}", data={"thumb": "up", "comment": "Nice"})
        until(lambda: any(client.feedback.list(interaction_id=interaction_id)))

    (row,) = client.feedback.list()
    assert "The moon pulls" in shown
    assert (reply.status_code, row.thumbs, row.comment) == (302, "up", "Nice")
    assert client.interactions.get(interaction_id).prompt == "Explain <b>tides</b>"


def test_the_fastapi_application_responds_and_takes_stars(client, environment, until):
    app = ["--app-dir", str(EXAMPLES / "fastapi"), "app:app"]
    with running("uvicorn", *app, environment=environment, until=until) as api:
        shown = api.post("/ask", json={"prompt": "tides"}).json()
        path = f"/feedback/{shown['interaction_id']}"
        stored = api.post(path, json={"stars": 4, "rater": "ann"}).json()

    assert shown["response"].endswith("tides")
    assert client.feedback.get(stored["feedback_id"]).rating == 4


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_script_stores_and_reads_back(environment):
    script = EXAMPLES / "curl" / "feedback.sh"

    said = subprocess.run(
        [script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert said.returncode == 0, said.stderr
    (row,) = json.loads(said.stdout.splitlines()[-1])["items"]
    assert (row["rating"], row["comment"]) == (4, "Clear")
