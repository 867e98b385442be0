"""A worker keeps the schedules, and a child of it does the monitoring."""

import asyncio

from shared.schedules.reports import newest_report


async def test_a_worker_starts_what_is_due_and_monitors(clockwork, sessions, start_worker):
    await clockwork.set("watch", cron="* * * * *", monitoring={})  # due since the test's long ago

    await start_worker()

    async with asyncio.timeout(120):
        report = None
        while report is None:
            await asyncio.sleep(0.1)
            async with sessions() as session:
                report = await newest_report(session, "watch", 1)
    assert report.warnings == []
    assert (await clockwork.stored("watch")).last_outcome == "started"
