"""`heed schedules`, from what is typed to what is stored."""

import asyncio
import re
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from heed_cli.main import main
from shared.contracts.monitoring import Average, MonitoringReport, Volume, Warned
from shared.db.tables import Job


@pytest.fixture
def heed(database_url, monkeypatch, capsys, tmp_path):
    """Runs one command on a fresh database; what it printed."""
    monkeypatch.setenv("HEED_DATABASE_URL", database_url)
    monkeypatch.setenv("HEED_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HEED_SECRET_KEY", "a secret for the tests, long enough.")
    monkeypatch.setenv("COLUMNS", "250")

    async def run(*args: str, fails: bool = False) -> str:
        with pytest.raises(SystemExit) as ended:
            await asyncio.to_thread(main, ["schedules", *args])
        said = capsys.readouterr()
        assert ended.value.code == int(fails), said.err
        return said.err if fails else said.out

    return run


async def test_a_schedule_is_added_edited_switched_and_removed(heed):
    added = await heed("add", "nightly", "--cron", "30 2 * * *", "--time-zone", "Europe/Berlin")
    edited = await heed("edit", "nightly", "--samples", "500", "--in-total", "--set", "seed=7")
    listed = await heed("list")
    await heed("disable", "nightly")
    off = await heed("list")
    await heed("edit", "nightly", "--no-threshold", "--cron", "0 4 * * *")
    await heed("enable", "nightly")
    plain = await heed("list")
    await heed("remove", "nightly")

    assert "starts reward (reward_embedding) at 30 2 * * * Europe/Berlin" in added
    assert re.search(
        r"nightly +30 2 \* \* \* Europe/Berlin +20\d\d-.+ UTC +0 of 500 in tot.+ on", listed
    )
    assert " off" in off
    assert re.search(r"nightly +0 4 \* \* \* Europe/Berlin +20\d\d-.+ UTC +reward .+ on", plain)
    assert "Berlin if there are 500 samples in total" in edited
    assert "nightly" not in await heed("list")


async def test_every_preset_is_installed_with_one_command_and_only_once(heed):
    shown = await heed("presets")
    await heed("presets", "--all", "--time-zone", "Europe/Berlin")
    listed = await heed("list")
    again = await heed("presets", "daily")

    assert "every-1000" in shown
    for line in (
        r"daily +0 2 \* \* \* Europe/Berlin",
        r"six-hourly +0 \*/6 \* \* \* Europe/Berlin +\S+ \S+ UTC +0 of 500 in total",
        r"any-task +at its threshold +0 of 100 new of any task",
        r"every-1000 +at its threshold +0 of 1000 new",
        r"weekly +0 1 \* \* 0 Europe/Berlin",
        r"monthly +0 3 1 \* \* Europe/Berlin",
        r"monitoring +0 \* \* \* \* Europe/Berlin",
    ):
        assert re.search(line, listed)
    assert "is there already" in again


async def test_what_monitoring_looks_at_is_set_and_edited(heed, sessions):
    await heed("add", "watch", "--cron", "0 * * * *", "--kind", "monitoring", "--model", "tone")
    await heed("edit", "watch", "--set", "days=7", "--cron", "30 * * * *")

    async with sessions() as session:
        run = await session.scalar(text("SELECT run FROM rlhf_schedules"))
    assert (run["kind"], run["model_name"], run["days"]) == ("monitoring", "tone", 7)
    assert "monitoring.nights is wrong" in await heed(
        "edit", "watch", "--set", "nights=7", fails=True
    )


async def test_what_is_due_is_enqueued_by_hand(heed, sessions):
    await heed("add", "often", "--cron", "0 0 1 1 *")
    quiet = await heed("tick")
    async with sessions.begin() as session:
        await session.execute(text("UPDATE rlhf_schedules SET next_at = now() - interval '1 h'"))
    late = await heed("list")

    due = await heed("tick")

    assert "Nothing is due" in quiet
    assert "often: does a worker run?" in late
    assert re.search(r"often +started [0-9a-f-]{36}", due)
    assert re.search(r"often .+ started +on", await heed("list"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("add", "x", "--cron", "0 25 * * *"), "`0 25 * * *` is no cron"),
        (("add", "x", "--cron", "0 2 * * *", "--time-zone", "Mars"), "no time zone `Mars`"),
        (("add", "x", "--cron", "0 2 * * *", "--kind", "magic"), "run.kind is wrong"),
        (("add", "x", "--cron", "0 2 * * *", "--kind", "reward_added"), "made elsewhere"),
        (("add", "x", "--cron", "0 2 * * *", "--set", "seed"), "name=value"),
        (("add", "x", "--cron", "0 2 * * *", "--any-task"), "threshold.samples is wrong"),
        (("add", "x", "--samples", "5", "--in-total"), "give a cron"),
        (("add", "x", "--kind", "monitoring", "--samples", "5"), "monitoring needs a cron"),
        (("add", "x"), "give a cron, a threshold, or both"),
        (("add", "two words", "--cron", "0 2 * * *"), "1 to 100 letters"),
        (("edit", "x", "--priority", "1"), "no schedule x"),
        (("remove", "x"), "no schedule x"),
        (("presets", "yearly"), "no preset yearly"),
        (("report",), "heed schedules presets monitoring"),
    ],
)
async def test_what_makes_no_sense_is_refused_in_one_line(heed, given, said):
    refusal = await heed(*given, fails=True)

    assert said in refusal
    assert len(refusal.splitlines()) == 1
    assert "unexpected" not in refusal


async def test_what_monitoring_found_is_shown(heed, sessions):
    report = MonitoringReport(
        at=datetime(2026, 3, 1, 5, tzinfo=UTC),
        days=30,
        averages=[Average(kind="task", name="rag", rated=60, average=0.41)],
        volume=Volume(last_day=3, usual_day=20.0),
        newest=[],
        unknown="Nothing is live under this name.",
        warnings=[Warned(kind="low_average", about="task:rag", value=0.41, counted=60)],
    )
    async with sessions.begin() as session:
        found = {"status": "succeeded", "progress": report.model_dump(mode="json")}
        session.add(Job(kind="monitoring", queue="monitoring", schedule="monitoring", **found))

    said = await heed("report")

    assert re.search(r"task rag +0.41 +60", said)
    assert re.search(r"posts +3 in the last day; 20.0 on a usual one", said)
    assert re.search(r"! low average +task:rag: 0.41", said)


async def test_a_name_that_is_taken_is_refused(heed):
    await heed("add", "x", "--cron", "0 2 * * *")

    assert "heed schedules edit x" in await heed("add", "x", "--cron", "0 3 * * *", fails=True)
