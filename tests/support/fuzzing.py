"""Asks a running service for everything its own OpenAPI allows, and for much that it does not."""

import os
import subprocess
import sys
from pathlib import Path

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


def find_faults(url: str, token: str, folder: Path, *, has_deadlines: bool = False) -> str:
    """What schemathesis reports; empty when every reply was as described.

    The same requests every time; HEED_TEST_EXAMPLES sets how many are tried of each operation.
    Where requests may ask for a deadline of a millisecond, 503 is a reply and no fault.
    """
    expected = ["2xx", "3xx", "4xx", *(["503"] if has_deadlines else [])]
    config = f"[checks.not_a_server_error]\nexpected-statuses = {expected}\n"
    (folder / "schemathesis.toml").write_text(config)
    examples = os.environ.get("HEED_TEST_EXAMPLES", "6")  # noqa: TID251 - the size of this test
    phases = "examples,fuzzing" if int(examples) < 20 else "examples,coverage,fuzzing"
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {token}", "--checks", ",".join(CHECKS)]
    command += ["--phases", phases, "--max-examples", examples, "--generation-deterministic"]
    command += ["--continue-on-failure", "--no-shrink", "--no-color", "--warnings", "off"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return "" if ended.returncode == 0 else ended.stdout[-20_000:] + ended.stderr[-2_000:]
