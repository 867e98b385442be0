"""Ten times more than may wait: single posts, then batches. Is it refused cleanly, in bounds?"""

import http.client
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ingest_batches import batch, fresh
from ingest_servers import Place, Server, serving, wrk

WAITING = 64  # what may wait in the first part
TIMES = 10
BATCH_CLIENTS = 100  # 100 batches of 1,000 are ten times the 10,000 posts that may wait


def measure_overload(here: Place, *, seconds: int) -> dict[str, Any]:
    """Both parts, each with its memory and what the server does once it is over."""
    few = {"HEED_FEEDBACK_MAX_PENDING": str(WAITING)}
    with serving(here, "durable", settings=few) as server:
        singles = _around(here, server, lambda: _singles(here, server, seconds))
    with serving(here, "durable") as server:
        batches = _around(here, server, lambda: _batches(here, server, seconds))
    return {"single_posts": singles, "batches": batches}


def _around(here: Place, server: Server, overload: Any) -> dict[str, Any]:
    """The memory before, at its peak and after; the rate of 32 connections before and after."""
    before = wrk(here, server, "own_id", seconds=3, connections=32)
    rss = server.rss_mb
    seen = overload()
    after = wrk(here, server, "own_id", seconds=3, connections=32)
    return {
        **seen,
        "rss_before_mb": round(rss, 1),
        "rss_peak_mb": round(server.peak_rss_mb, 1),
        "rss_after_mb": round(server.rss_mb, 1),
        "requests_per_s_before": round(before.requests_per_s),
        "requests_per_s_after": round(after.requests_per_s),
        "failed_after": after.failed_replies + after.connection_errors + after.timeouts,
    }


def _singles(here: Place, server: Server, seconds: int) -> dict[str, Any]:
    run = wrk(here, server, "own_id", seconds=seconds, connections=TIMES * WAITING, count=True)
    return {
        "connections": TIMES * WAITING,
        "may_wait": WAITING,
        "statuses": run.statuses,
        "refusals_without_retry_after": run.refusals_without_retry_after,
        "connection_errors": run.connection_errors,
        "timeouts": run.timeouts,
        "p99_ms": run.p99_ms,
    }


def _batches(here: Place, server: Server, seconds: int) -> dict[str, Any]:
    statuses: Counter[str] = Counter()
    body, deadline = batch("ndjson"), time.monotonic() + seconds
    headers = {
        "Authorization": f"Bearer {here.token}",
        "Content-Type": "application/x-ndjson",
    }
    lock = threading.Lock()

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        while time.monotonic() < deadline:
            try:
                connection.request("POST", "/feedback/batch", fresh(body), headers)
                reply = connection.getresponse()
                reply.read()
            except OSError:
                said = "connection error"
                connection.close()
            else:
                waits = reply.status == 503 and reply.headers["Retry-After"] is None
                said = f"{reply.status}{' without Retry-After' if waits else ''}"
            with lock:
                statuses[said] += 1

    with ThreadPoolExecutor(BATCH_CLIENTS) as threads:
        for running in [threads.submit(client) for _ in range(BATCH_CLIENTS)]:
            running.result()
    return {"clients": BATCH_CLIENTS, "statuses": dict(statuses)}
