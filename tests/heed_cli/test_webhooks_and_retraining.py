"""`heed webhooks` and `heed retrain`, from what is typed to what is stored."""

import asyncio
import re
from uuid import UUID

import pytest

from heed_cli.main import main

UUID_TEXT = r"[0-9a-f]{8}-[0-9a-f-]{27}"


@pytest.fixture
def heed(database_url, monkeypatch, capsys, tmp_path):
    """Runs one command on a fresh database; what it printed."""
    monkeypatch.setenv("HEED_DATABASE_URL", database_url)
    monkeypatch.setenv("HEED_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "250")

    async def run(*args: str) -> str:
        with pytest.raises(SystemExit) as ended:
            await asyncio.to_thread(main, list(args))
        said = capsys.readouterr()
        assert ended.value.code == 0, said.err
        return said.out

    async def refused(*args: str) -> str:
        with pytest.raises(SystemExit) as ended:
            await asyncio.to_thread(main, list(args))
        assert ended.value.code == 1
        return capsys.readouterr().err

    run.refused = refused  # type: ignore[attr-defined]
    return run


async def test_a_webhook_is_added_tested_rotated_switched_and_removed(heed):
    added = await heed(
        "webhooks", "add", "https://hooks.example.org/x", "--event", "feedback.created"
    )
    webhook = re.search(UUID_TEXT, added)[0]
    listed = await heed("webhooks", "list")
    await heed("webhooks", "test", webhook)
    waiting = await heed("webhooks", "deliveries", webhook)
    rotated = await heed("webhooks", "rotate", webhook)
    off = await heed("webhooks", "disable", webhook)
    await heed("webhooks", "remove", webhook)

    assert UUID(webhook)
    assert "whsec_" in added
    assert "whsec_" in rotated
    assert "whsec_" not in listed
    assert "https://hooks.example.org/x" in listed
    assert "webhook.test" in waiting
    assert "queued" in waiting
    assert "off" in off
    assert webhook not in await heed("webhooks", "list")


async def test_a_url_inside_is_refused_in_one_line(heed):
    said = await heed.refused("webhooks", "add", "https://192.168.1.1/")

    assert "HEED_WEBHOOK_ALLOW" in said
    assert len(said.splitlines()) == 1


async def test_a_replay_wants_either_a_delivery_or_a_time(heed):
    said = await heed.refused("webhooks", "replay", "0192f0c4-0000-7000-8000-000000000000")

    assert "--delivery or --since" in said


async def test_a_threshold_is_set_listed_and_taken_away(heed):
    await heed("retrain", "--every", "1000")
    await heed("retrain", "--every", "50", "--task", "tracing")
    listed = await heed("retrain", "list")
    await heed("retrain", "off", "reward-tracing")

    assert "0 of 1000" in listed
    assert re.search(r"reward-tracing +at its threshold +0 of 50 new of tracing", listed)
    assert "tracing" not in await heed("retrain", "list")
    assert "heed schedules list" in await heed.refused("retrain", "off", "missing")


async def test_retrain_alone_says_what_it_wants(heed):
    assert "--every" in await heed.refused("retrain")


async def test_a_threshold_for_any_task_is_listed_as_one(heed):
    await heed("retrain", "--every", "100", "--any-task")

    listed = await heed("retrain", "list")

    assert re.search(r"reward-any-task +at its threshold +0 of 100 new of any task", listed)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--every", "100", "--any-task", "--task", "rag"), "--any-task"),
        (("--every", "100", "--model", "m" * 101), "--model"),
        (("--every", "100", "--name", ""), "--name"),
        (("--every", "100", "--task", "two words"), "--name"),
    ],
)
async def test_a_threshold_that_means_nothing_is_refused_in_one_line(heed, given, said):
    refusal = await heed.refused("retrain", *given)

    assert said in refusal
    assert len(refusal.splitlines()) == 1
    assert "unexpected" not in refusal
