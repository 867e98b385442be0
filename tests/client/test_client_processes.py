"""The outbox among processes that are killed, forked, or many."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from heed_client import Heed

POSTS_FOR_EVER = """
import itertools, sys
from heed_client import Heed

url, key, path, said = sys.argv[1:]
acknowledged = open(said, "x")
client = Heed(url, api_key=key, outbox=path)
for number in itertools.count():
    stored = client.feedback.comment("a remark", prompt="Why?", response=f"Gases {number}.")
    if stored.state == "queued":
        print(stored.feedback_id, file=acknowledged, flush=True)
"""
FORKS = """
import os, sys
from heed_client import Heed

url, key, path = sys.argv[1:]
client = Heed(url, api_key=key, outbox=path)

def post(n):
    for number in range(5):
        client.feedback.comment("a remark", prompt="Why?", response=f"Gases {n} {number}.")

post("before")
children = []
for n in range(12):
    child = os.fork()
    if child == 0:
        post(n)
        os._exit(0 if n % 2 or client.flush(30) else 1)
    children.append(child)
    post(f"parent {n}")
assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 12
post("after")
assert client.flush(30)
client.close()
"""


OUTLIVES_ITS_PARENT = """
import os, sys
from heed_client import Heed

url, key, path = sys.argv[1:]
client = Heed("http://127.0.0.1:9", api_key=key, outbox=path)
client.feedback.comment("a remark", prompt="Why?", response="before")
reads, writes = os.pipe()
child = os.fork()
if child == 0:
    os.close(writes)
    os.read(reads, 1)
    stored = client.feedback.comment("a remark", prompt="Why?", response="after")
    os._exit(stored.state != "queued")
client.outbox.close(timeout_s=0)
os.close(writes)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
Until = Callable[[Callable[[], bool]], None]


def start(code: str, *arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def kill_at_some_point(arguments: list[object], said: list[Path], until: Until) -> None:
    """Two processes post until they are killed."""
    running = [start(POSTS_FOR_EVER, *arguments, file) for file in said]
    until(lambda: all(file.exists() and file.stat().st_size for file in said))
    time.sleep(random.SystemRandom().uniform(0, 0.3))
    for process in running:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL


def test_what_was_acknowledged_before_a_kill_is_stored_once(url, token, client, tmp_path, until):
    path = tmp_path / "outbox.db"
    files = [tmp_path / f"acknowledged-{n}" for n in range(8)]
    for n in range(0, 8, 2):
        kill_at_some_point([url, token, path], files[n : n + 2], until)
    acknowledged = [line for file in files for line in file.read_text().split()]

    with Heed(url, api_key=token, outbox=path) as fresh:
        assert fresh.flush(60)
        assert fresh.outbox.refused() == []

    stored = [row.feedback_id for row in client.feedback.list()]
    assert len(stored) == len(set(stored))
    assert set(acknowledged) <= set(stored)
    assert len(stored) <= len(acknowledged) + len(files)  # one more each, at most


def finish(process: "subprocess.Popen[str]") -> int:
    """The exit status of a process, which ends with its children after a minute."""
    try:
        process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    return process.returncode


def test_forked_processes_share_it_and_lose_nothing(url, token, client, tmp_path):
    assert finish(start(FORKS, url, token, tmp_path / "outbox.db")) == 0

    rows = list(client.feedback.list())
    assert len({row.response for row in rows}) == len(rows) == 5 * (1 + 12 + 12 + 1)


def test_a_child_keeps_posting_after_its_parent_has_closed(url, token, client, tmp_path):
    path = tmp_path / "outbox.db"
    assert finish(start(OUTLIVES_ITS_PARENT, url, token, path)) == 0

    with Heed(url, api_key=token, outbox=path) as fresh:
        assert fresh.flush(30)

    assert {row.response for row in client.feedback.list()} == {"before", "after"}
