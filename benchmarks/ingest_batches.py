"""How fast batches of 1,000 items are stored, and what they do to everybody else meanwhile."""

import http.client
import itertools
import json
import statistics
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from ingest_servers import Place, Server, serving

ITEMS = 1000
CLIENTS = 4
PROBE_EVERY_S = 0.01
MARK = b"@@@@@@@@"
PROCESSES = (1, 2)
FORMS = {"json_array": "application/json", "ndjson": "application/x-ndjson"}
_number = itertools.count()


def measure_batches(here: Place, *, seconds: int, rounds: int = 5) -> dict[str, Any]:
    """Rows per second of both forms, and how long others waited for the event loop.

    With one process, and with two on one database. Every line of the result has a database of its
    own, so that none pays for the rows of the one before it.
    """
    found: dict[str, Any] = {"items": ITEMS, "clients": CLIENTS}
    for processes in PROCESSES:
        found[f"{processes}_processes"] = {
            form: _measure(here, form, processes, seconds=seconds, rounds=rounds) for form in FORMS
        }
    return found


def _measure(
    here: Place, form: str, processes: int, *, seconds: int, rounds: int
) -> dict[str, Any]:
    body = batch(form)
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(here, "durable"))]
        for _ in range(processes - 1):
            servers.append(stack.enter_context(serving(here, "durable", beside=servers[0].url)))
        runs = [_one(here, servers, form, body, seconds) for _ in range(rounds)]
    per_s = [run["rows_per_s"] for run in runs]
    return {"rows_per_s": round(statistics.median(per_s)), "body_bytes": len(body), "runs": runs}


def batch(form: str) -> bytes:
    """1,000 items of about 1 KB; `fresh` gives each copy ids of its own."""
    items = [_item(place) for place in range(ITEMS)]
    if form == "ndjson":
        return b"\n".join(items) + b"\n"
    return b"[" + b",".join(items) + b"]"


def _item(place: int) -> bytes:
    sentence = f"What was said in case {place} helps, and it leaves open when to come back. "
    post = {
        "feedback_id": f"b-{MARK.decode()}-{place}",
        "rater_id": f"rater-{place}",
        "session_id": f"s-{place}",
        "agent_name": "helper",
        "prompt": f"Case {MARK.decode()}: " + sentence * 3,
        "response": sentence * 6,
        "rating": place % 5 + 1,
        "comment": "Clear and calm.",
    }
    return json.dumps(post).encode()


def fresh(body: bytes) -> bytes:
    return body.replace(MARK, b"%08d" % next(_number))


def post(connection: http.client.HTTPConnection, path: str, body: bytes, **headers: str) -> int:
    """The status of the reply; its body is read and dropped."""
    connection.request("POST", path, body, headers)
    reply = connection.getresponse()
    reply.read()
    return reply.status


def _one(
    here: Place, servers: Sequence[Server], form: str, body: bytes, seconds: int
) -> dict[str, Any]:
    """One run with 4 clients spread over the servers, and a fifth that asks the first one for
    `/healthz` every 10 ms."""
    stop = threading.Event()
    statuses: Counter[int] = Counter()
    headers = {"Authorization": f"Bearer {here.token}", "Content-Type": FORMS[form]}

    def client(place: int) -> None:
        port = servers[place % len(servers)].port
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while not stop.is_set():
            statuses[post(connection, "/feedback/batch", fresh(body), **headers)] += 1

    app, database, began = _cpu_s(servers), here.postgres_cpu_s(), time.perf_counter()
    with ThreadPoolExecutor(CLIENTS + 1) as threads:
        waits = threads.submit(_probe, servers[0], stop)
        clients = [threads.submit(client, place) for place in range(CLIENTS)]
        time.sleep(seconds)
        stop.set()
        for running in clients:
            running.result()
        took = time.perf_counter() - began
    stored = statuses[207] * ITEMS
    return {
        "rows_per_s": round(stored / took),
        "app_cpu_us_per_row": round((_cpu_s(servers) - app) / stored * 1e6, 1),
        "postgres_cpu_us_per_row": round((here.postgres_cpu_s() - database) / stored * 1e6, 1),
        "statuses": dict(statuses),
        **waits.result(),
    }


def _cpu_s(servers: Sequence[Server]) -> float:
    return sum(server.cpu_s for server in servers)


def _probe(server: Server, stop: threading.Event) -> dict[str, float]:
    """How long a trivial request takes meanwhile: what the event loop is blocked for."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    waits = []
    while not stop.is_set():
        began = time.perf_counter()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        waits.append((time.perf_counter() - began) * 1000)
        stop.wait(PROBE_EVERY_S)
    return {
        "others_p50_ms": round(statistics.median(waits), 2),
        "others_p99_ms": round(statistics.quantiles(waits, n=100)[98], 2),
        "others_longest_ms": round(max(waits), 2),
    }
