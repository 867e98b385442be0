"""The whole loop, as `make demo` runs it: every number is what the demo itself read back."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time

import httpx
import pytest
from sqlalchemy import select

from heed_cli.database import in_transaction
from heed_cli.demo.posts import sample_batches
from heed_cli.sample import load_sample
from shared.db import embedded
from shared.db.tables import (
    Feedback,
    FeedbackHistory,
    Preference,
    PreferenceHistory,
    TrainingRun,
)

pytestmark = pytest.mark.slow


def report_of(heed, *args: str) -> dict:
    heed.done("demo", "--report", "report.json", *args)
    return json.loads((heed.home / "report.json").read_text())


def test_the_demo_learns_swaps_without_a_failed_request_and_ranks_better(heed):
    report = report_of(heed)

    first, second = report["rounds"]
    batches = sample_batches()
    assert [done["acknowledged"] for done in report["rounds"]] == [
        len(batches.first),
        len(batches.later),
    ]
    assert first["stored_in_all"] == len(batches.first)
    assert second["stored_in_all"] == len(batches.first) + len(batches.later)
    for done in report["rounds"]:
        assert 0.5 < done["accuracy_low"] < done["accuracy"] < done["accuracy_high"] < 0.95
        assert done["length_accuracy"] < done["accuracy_low"]
        assert done["gate"]["policy"] == "not_worse"
        assert done["rerank"]["model_rank"] < done["rerank"]["input_rank"]
    assert second["rerank"]["low"] > 0
    assert first["live_model"] == "reward@1"
    promoted = second["gate"]["promotes"]
    assert second["live_model"] == ("reward@2" if promoted else "reward@1")
    assert report["background_models"] == ["reward@1", "reward@2"][: 2 if promoted else 1]
    assert report["background_requests"] > 10
    assert report["background_failed"] == report["failed_requests"] == 0
    assert report["latency"]["candidates"] == 10
    assert 0 < report["latency"]["p50_ms"] <= report["latency"]["p95_ms"]
    assert_stopped(heed)


def test_the_demo_takes_a_persons_own_comparisons_and_touches_no_other_deployment(heed):
    rows = [
        {"prompt": row["prompt"], "chosen": row[f"response_{row['preferred']}"],
         "rejected": row["response_b" if row["preferred"] == "a" else "response_a"]}
        for row in load_sample()
        if row["kind"] == "preference" and row["preferred"] in ("a", "b")
    ][:200]  # fmt: skip
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (heed.home / "own.jsonl.gz").write_bytes(gzip.compress(text.encode()))

    report = report_of(heed, "--data", "own.jsonl.gz")

    assert report["source"] == "own.jsonl.gz"
    assert [done["stored_in_all"] for done in report["rounds"]] == [140, 200]
    assert report["failed_requests"] == 0
    assert not heed.data_dir.exists()


def test_what_was_killed_half_way_is_finished_after_up_and_nothing_acknowledged_is_lost(heed):
    heed.settings["HEED_GATE"] = "manual"
    heed.done("up")
    acknowledged = post(heed, load_sample()[:140])
    heed.done("train", "embedding", "--queue")
    wait_for_run(heed, "running")

    acknowledged |= post(heed, load_sample()[140:150])
    for name in ("trainer", "postgres"):
        os.kill(process_of(heed, name), signal.SIGKILL)
    heed.done("up")

    assert len(acknowledged) == 150
    assert acknowledged == stored_ids(heed)
    wait_for_run(heed, "succeeded")
    assert scored(heed)["model"] is None
    heed.done("models", "promote", "1", "--reason", "to be served")
    os.kill(process_of(heed, "reward_service"), signal.SIGKILL)
    heed.done("up")
    reply = wait_for_model(heed)
    assert (reply["model"]["name"], reply["model"]["version"]) == ("reward", 1)
    assert reply["results"][0]["raw"] is not None


def stored_ids(heed) -> set[str]:
    """The ids of all rows, live or superseded."""

    async def read(session) -> set[str]:
        tables = (Feedback, FeedbackHistory, Preference, PreferenceHistory)
        return {
            str(row_id) for table in tables for row_id in await session.scalars(select(table.id))
        }

    return in_transaction(embedded.attach(heed.data_dir).url(), read)


def scored(heed) -> dict:
    token = (heed.data_dir / "dev.key").read_text().strip()
    reply = httpx.post(
        f"http://127.0.0.1:{heed.settings['HEED_REWARD_PORT']}/score",
        headers={"Authorization": f"Bearer {token}"},
        json={"inputs": [{"prompt": "What helps?", "response": "Salt."}], "return": ["raw"]},
        timeout=60,
        trust_env=False,
    )
    assert reply.status_code == 200
    return reply.json()


def wait_for_model(heed) -> dict:
    for _ in range(120):
        if (reply := scored(heed))["model"]:
            return reply
        time.sleep(0.5)
    pytest.fail("No model is live after a minute.")


def post(heed, rows: list[dict]) -> set[str]:
    """The ids of the rows that were acknowledged: all of them."""
    ids = set()
    token = (heed.data_dir / "dev.key").read_text().strip()
    url = f"http://127.0.0.1:{heed.settings['HEED_FEEDBACK_PORT']}"
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False) as http:
        for row in rows:
            body = {name: value for name, value in row.items() if name not in ("kind", "batch")}
            reply = http.post(f"/{row['kind']}", json=body)
            assert reply.status_code == 201
            ids.add(reply.json()["id"])
    return ids


def process_of(heed, name: str) -> int:
    states = json.loads(heed("status", "--json").stdout)
    return next(state["pid"] for state in states if state["name"] == name)


def wait_for_run(heed, status: str) -> None:
    """Ask the rows themselves: a command takes seconds, and a run may be over before it looks."""

    async def read(session) -> set[str]:
        return set(await session.scalars(select(TrainingRun.status)))

    url = embedded.attach(heed.data_dir).url()
    for _ in range(1500):
        if status in in_transaction(url, read):
            return
        time.sleep(0.2)
    pytest.fail(f"No run is {status} after five minutes: " + heed.done("train", "runs"))


def test_ctrl_c_stops_what_the_demo_started(heed):
    command = [sys.executable, "-P", "-m", "heed_cli", "demo"]

    with subprocess.Popen(
        command, cwd=heed.home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        while "up" not in demo.stdout.readline().split():
            assert demo.poll() is None
        time.sleep(1)
        demo.send_signal(signal.SIGINT)
        _, said = demo.communicate(timeout=120)

    assert demo.returncode != 0
    assert "Traceback" not in said
    assert_stopped(heed)


def assert_stopped(heed) -> None:
    [run] = (heed.home / ".heed-demo").iterdir()
    assert not embedded.status(run).running
    assert list(run.glob("run/*.json")) == []
    assert (run / "demo.over").exists()
