"""Log lines are JSON, whenever their logger was asked for."""

import json
import subprocess
import sys

FAILING = """
import asyncio, logging
from shared.logs import configure_logs
configure_logs()
try:
    raise ValueError("patient Miller")
except ValueError:
    logging.getLogger("asyncio").exception("a task failed")
"""
FORGOTTEN = """
import asyncio, gc
from shared.logs import configure_logs
configure_logs()
async def fail():
    raise ValueError("patient Miller")
async def main():
    asyncio.create_task(fail())
    await asyncio.sleep(0.01)
asyncio.run(main())
gc.collect()
"""
PROGRAM = """
from shared.logs import configure_logs, get_logger
early = get_logger("early")
configure_logs()
early.info("something happens", posts=3)
"""


def test_a_logger_made_before_the_configuration_writes_json_too():
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )

    line = json.loads(run.stderr)
    assert (line["event"], line["area"], line["posts"]) == ("something happens", "early", 3)
    assert run.stdout == ""


def test_an_exception_is_logged_by_type_and_place_and_never_by_its_message():
    run = subprocess.run(
        [sys.executable, "-c", FAILING], capture_output=True, text=True, check=True
    )

    line = json.loads(run.stderr)
    assert (line["event"], line["type"]) == ("a task failed", "ValueError")
    assert line["places"]
    assert "Miller" not in run.stderr


def test_a_task_whose_failure_nobody_asked_for_is_logged_without_its_message():
    run = subprocess.run(
        [sys.executable, "-c", FORGOTTEN], capture_output=True, text=True, check=True
    )

    line = json.loads(run.stderr)
    assert (line["event"], line["type"]) == ("Task exception was never retrieved", "ValueError")
    assert "Miller" not in run.stderr
