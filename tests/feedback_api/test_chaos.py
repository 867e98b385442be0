"""Acknowledged posts are stored exactly once while Postgres and the API are killed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shared.db.tables import Feedback, FeedbackHistory

REPOSITORY = Path(__file__).parents[2]
POST = {"prompt": "Is it far?", "response": "Two hours on foot.", "rater_id": 7}


@pytest.mark.slow
def test_every_acknowledged_post_is_stored_once_whatever_is_killed(tmp_path):
    result = tmp_path / "chaos.json"
    size = ["--posts", "1500", "--pause", "1.2", "--kills", "5"]
    command = [sys.executable, "benchmarks/chaos.py", *size, "--out", str(result)]

    ended = subprocess.run(
        [*command, "--data", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(result.read_text())
    assert found["killed"].keys() == {"postgres", "api"}
    assert found["found"]["keys_acknowledged"] == 1500
    assert found["found"]["live_rows"] + found["found"]["history_rows"] == 1500


@pytest.mark.parametrize("thumbs", [("up", "down"), ("down", "up")])
async def test_a_thumb_flipped_within_one_commit_is_one_live_row(client, rows, thumbs):
    for tried in range(1, 51):  # on a busy machine the first may be committed before the second
        posts = [POST | {"prompt": f"Is it far, {tried}?", "thumbs": thumb} for thumb in thumbs]
        reply = await client.post("/feedback/batch", json=posts)
        all_live, all_earlier = await rows(Feedback), await rows(FeedbackHistory)
        assert len(all_live) == len(all_earlier) == tried
        live, earlier = all_live[-1], all_earlier[-1]
        if live.xid == earlier.xid:
            break

    assert live.xid == earlier.xid, "always two commits"
    assert (earlier.thumbs, live.thumbs) == thumbs
    assert earlier.superseded_by == live.id
    assert [item["status"] for item in reply.json()["items"]] == [201, 200]
