"""One post that the service cannot take holds up no other, and nothing ends the thread."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from heed_client import Heed, Outbox

BAD = "the post at fault"


class Faulty(ThreadingHTTPServer):
    """A real server that fails on one post, whatever else is in the request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.taken: list[str] = []
        self.busy_for: str | None = None
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server: Faulty = self.server  # type: ignore[assignment]
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        ids = [one["interaction_id"] for one in (said if isinstance(said, list) else [said])]
        if server.busy_for is not None:
            wait, server.busy_for = server.busy_for, None
            self._reply(503, {"code": "busy"}, {"Retry-After": wait})
        elif BAD in ids:
            self._reply(500, {"code": "internal"}, {})
        else:
            server.taken += ids
            item = {"status": 201, "id": "1", "state": "live"}
            self._reply(201, {"items": [item for _ in ids]}, {})

    def _reply(self, status: int, said: object, headers: dict[str, str]) -> None:
        body = json.dumps(said).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing on stderr."""


@pytest.fixture
def faulty() -> Iterator[Faulty]:
    server = Faulty()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def queued(faulty, tmp_path, clock) -> Iterator[Heed]:
    """A client whose pauses pass at once."""
    outbox = Outbox(tmp_path / "outbox.db", clock=clock)
    made = Heed(faulty.url, api_key="heed_some_key", outbox=outbox, clock=clock)
    yield made
    outbox.close(timeout_s=0)
    made.close()


def test_a_post_of_its_own_that_fails_for_ever_holds_up_no_other(queued, faulty, until):
    queued.interactions.record("Why?", "So.", interaction_id=BAD)
    for name in "abc":
        queued.interactions.record("Why?", "So.", interaction_id=name)

    until(lambda: queued.outbox.counters().pending == 1)
    assert faulty.taken == ["a", "b", "c"]


def test_a_post_in_a_batch_that_fails_for_ever_holds_up_no_other(queued, faulty, until):
    for name in ("a", BAD, "b", "c"):
        queued.feedback.stars(4, interaction_id=name)

    until(lambda: queued.outbox.counters().pending == 1)
    assert sorted(faulty.taken) == ["a", "b", "c"]


@pytest.mark.parametrize("wait", ["1e300", "inf", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_service_that_asks_for_an_eternity_is_asked_again(queued, faulty, until, wait):
    faulty.busy_for = wait

    queued.feedback.stars(4, interaction_id="a")

    until(lambda: faulty.taken == ["a"])


def test_a_flush_tries_what_was_put_off(queued, faulty, until):
    faulty.busy_for = "0"
    queued.interactions.record("Why?", "So.", interaction_id="a")

    assert queued.flush(timeout_s=600)
    assert faulty.taken == ["a"]


def test_a_disk_that_is_nearly_full_takes_no_post_and_gives_up_those_it_has(
    queued, faulty, until, monkeypatch
):
    faulty.busy_for = "30"
    queued.feedback.stars(4, interaction_id="a")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=8_000_000))

    assert queued.feedback.stars(4, interaction_id="b").state == "dropped"
    until(lambda: queued.outbox.counters().pending == 0)
    assert faulty.taken == ["a"]
