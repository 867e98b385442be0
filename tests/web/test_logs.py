"""Log lines are JSON, whenever their logger was asked for."""

import json
import subprocess
import sys

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
