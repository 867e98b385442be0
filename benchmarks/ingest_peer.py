"""Phoenix's durable annotation endpoint on the same kind of Postgres, as a peer.

`make bench-ingest-peer` installs it in an environment of its own; without that, the row is left
out. Each post annotates one of 64 spans for another person and waits for its commit (`sync=true`).
"""

import asyncio
import json
import os
import secrets
import shutil
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingest_servers import HERE, execute, free_port, wait_until_ready

from shared.db import embedded

PHOENIX = HERE.parent / "build" / "phoenix" / "bin"
SPANS = 64
START_S = 120


def measure_peer(under: Path, *, rounds: int, seconds: int) -> dict[str, Any]:
    """Its annotations per second, medians over the rounds; empty when it is not installed."""
    if not (PHOENIX / "phoenix").exists():
        return {}
    with _phoenix(under) as port:
        spans = _record_spans(port)
        command = ["wrk", "-t1", "-c64", f"-d{seconds}s", "--timeout", "20s"]
        command += ["-s", str(HERE / "ingest_peer.lua"), f"http://127.0.0.1:{port}", "--"]
        runs = []
        for _ in range(rounds):
            said = subprocess.run(
                [*command, secrets.token_hex(4), *spans], capture_output=True, text=True, check=True
            ).stdout
            found = next(line[4:] for line in said.splitlines() if line.startswith("JSON"))
            runs.append(json.loads(found))
    rates = [round(run["requests"] / run["seconds"], 1) for run in runs]
    return {
        "version": _version(),
        "requests_per_s": statistics.median(rates),
        "every_rate": rates,
        "p50_ms": statistics.median(run["p50_ms"] for run in runs),
        "failed": sum(run["failed_replies"] + run["connection_errors"] for run in runs),
    }


@contextmanager
def _phoenix(under: Path) -> Iterator[int]:
    """The port of a running Phoenix on a Postgres of its own."""
    folder = Path(tempfile.mkdtemp(prefix="peer-", dir=under))
    try:
        postgres = embedded.start(folder, tcp_port=free_port())
        assert postgres.password_file is not None
        password = postgres.password_file.read_text()
        asyncio.run(execute(postgres.url("postgres"), "CREATE DATABASE phoenix"))
        port = free_port()
        address = f"heed:{password}@127.0.0.1:{postgres.port}"
        environment = {
            "PATH": os.defpath,
            "HOME": str(folder),
            "PHOENIX_WORKING_DIR": str(folder / "phoenix"),
            "PHOENIX_SQL_DATABASE_URL": f"postgresql://{address}/phoenix",
            "PHOENIX_PORT": str(port),
            "PHOENIX_GRPC_PORT": str(free_port()),
            "PHOENIX_TELEMETRY_ENABLED": "false",
        }
        with subprocess.Popen(
            [str(PHOENIX / "phoenix"), "serve"], env=environment, stdout=subprocess.DEVNULL
        ) as process:
            try:
                wait_until_ready(port, process, within_s=START_S)
                yield port
            finally:
                process.terminate()
                process.wait()
    finally:
        embedded.stop(folder, mode="immediate")
        shutil.rmtree(folder)


def _record_spans(port: int) -> list[str]:
    """The ids of spans that can be annotated; Phoenix stores spans a moment after its reply."""
    now, spans = datetime.now(UTC).isoformat(), [secrets.token_hex(8) for _ in range(SPANS)]
    recorded = [
        {
            "name": "helper",
            "context": {"trace_id": secrets.token_hex(16), "span_id": span},
            "span_kind": "LLM",
            "start_time": now,
            "end_time": now,
            "status_code": "OK",
            "attributes": {},
        }
        for span in spans
    ]
    _call(port, "/v1/projects/default/spans", recorded)
    first = [{"name": "thumb", "annotator_kind": "HUMAN", "result": {"label": "up"}}]
    for span in spans:
        for _ in range(100):
            with suppress(OSError):
                _call(port, "/v1/span_annotations?sync=true", [first[0] | {"span_id": span}])
                break
            time.sleep(0.2)
    return spans


def _call(port: int, path: str, data: list[dict[str, Any]]) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        json.dumps({"data": data}).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=30).close()


def _version() -> str:
    asked = [str(PHOENIX / "python"), "-c"]
    code = "from importlib.metadata import version; print(version('arize-phoenix'))"
    return subprocess.run([*asked, code], capture_output=True, text=True, check=True).stdout.strip()
