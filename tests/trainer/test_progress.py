"""What a run tells while it goes on, and that nothing ends its heartbeat."""

import asyncio

from services.trainer import progress
from services.trainer.progress import Reporter, beat, terminal_bar
from shared.db.tables import TrainingRun
from shared.jobs import start_foreground


def test_without_a_terminal_each_stage_is_one_plain_line(capsys):
    with terminal_bar() as show:
        for fraction, stage in [(0.0, "dataset"), (0.1, "fit"), (0.5, "fit"), (0.97, "gate")]:
            show(fraction, stage)

    lines = capsys.readouterr().err.splitlines()
    assert [line.split() for line in lines] == [["0%", "dataset"], ["10%", "fit"], ["97%", "gate"]]


async def test_a_heartbeat_goes_on_after_an_error_whose_message_is_told_to_nobody(
    sessions, monkeypatch, capsys, caplog
):
    monkeypatch.setattr(progress, "BEAT_S", 0.01)
    async with sessions.begin() as session:
        run = await start_foreground(
            session, TrainingRun, kind="reward_embedding", params={}, owner="me:1", created_by="me"
        )
    reporter = Reporter(latest={"stage": object()})  # JSON cannot keep it
    task = asyncio.create_task(beat(sessions, run, reporter))
    await asyncio.sleep(0.1)
    reporter.latest = {"stage": "fit"}

    async with asyncio.timeout(20):
        while await _kept_progress(sessions, run) != reporter.latest:  # noqa: ASYNC110 - a row
            await asyncio.sleep(0.01)
    task.cancel()

    printed = capsys.readouterr()
    logged = printed.out + printed.err + caplog.text  # where, depends on who configured the logs
    assert "no heartbeat" in logged
    assert "JSON serializable" not in logged


async def _kept_progress(sessions, run: TrainingRun) -> dict:
    async with sessions() as session:
        return (await session.get(TrainingRun, run.id)).progress
