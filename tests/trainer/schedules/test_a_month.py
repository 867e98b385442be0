"""A simulated month: every preset, six schedulers, and deaths at random statements."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from sqlalchemy import event, text

from heed_cli.schedule_presets import PRESETS
from services.trainer.schedules.scheduler import Scheduler
from shared.db.tables import Job
from shared.schedules.stored import Owner, put_schedule

HOUR = timedelta(hours=1)
POSTS = text("""
INSERT INTO rlhf_feedback (id, feedback_id, target, consent_training, task_type)
SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), true, cast(:task AS text)
FROM generate_series(1, :count)
""")
MARCH = datetime(2026, 3, 1, tzinfo=UTC)
HOURS = [MARCH + number * HOUR for number in range(1, 31 * 24 + 1)]
# Somebody looks every hour of the first day, then now and then; on the 10th not before one.
LOOKS = [
    moment
    for moment in HOURS
    if (moment.day == 1 or moment.hour in (0, 1, 2, 6, 12, 13, 18))
    and not (moment.day == 10 and 1 <= moment.hour <= 12)
]


class Killed(BaseException):
    """What kill -9 looks like from inside: nobody catches it, and the transaction is gone."""


class Deaths:
    """Kills whoever runs a statement once so many more of them have been run."""

    def __init__(self) -> None:
        self.after: int | None = None
        self.count = 0

    def strike(self, *_: object) -> None:
        """Called before every statement, and before every commit."""
        if self.after is None:
            return
        self.after -= 1
        if self.after < 0:
            self.after = None
            self.count += 1
            raise Killed


@contextmanager
def killing(sessions) -> Iterator[Deaths]:
    deaths, engine = Deaths(), sessions.kw["bind"].sync_engine
    for when in ("before_cursor_execute", "commit"):
        event.listen(engine, when, deaths.strike)
    try:
        yield deaths
    finally:
        for when in ("before_cursor_execute", "commit"):
            event.remove(engine, when, deaths.strike)


async def test_in_a_month_everything_that_is_due_comes_once(clockwork, sessions):
    """Posts come at half past twelve: 40 a day, a task's 120 on the 20th, 1,000 on the 25th."""
    dice, six = random.Random(7), [Scheduler(sessions) for _ in range(6)]
    async with sessions.begin() as session:
        for name, preset in PRESETS.items():
            await put_schedule(session, name, preset, Owner(1, "tests"), MARCH)
    told = defaultdict[str, list[datetime]](list)
    with killing(sessions) as deaths:
        for moment in LOOKS:
            if moment.hour == 13:
                async with sessions.begin() as session:
                    await session.execute(POSTS, {"count": 40, "task": None})
                    await session.execute(POSTS, {"count": 120 * (moment.day == 20), "task": "x"})
                    await session.execute(POSTS, {"count": 1000 * (moment.day == 25), "task": None})
            for fired in await _look(six, moment, deaths, dice, sessions):
                told[fired.name].append(fired.due_at)
            await clockwork.train()

    runs = [*await clockwork.runs(), *await clockwork.runs(Job)]
    started = {name: sorted(run.due_at for run in runs if run.schedule == name) for name in PRESETS}
    assert deaths.count > 10
    assert started["daily"] == [hour for hour in HOURS if hour.hour == 2]
    assert started["weekly"] == [_day(day, 1) for day in (1, 8, 15, 22, 29)]
    assert started["monthly"] == [_day(1, 3)]
    assert started["monitoring"] == [last + HOUR for last, _ in pairwise([MARCH, *LOOKS])]
    # 500 are there on the 13th; every evening since, only what came at noon is new.
    assert started["six-hourly"] == [_day(day, 18) for day in range(13, 32) if day not in (20, 25)]
    assert started["any-task"] == [_day(20, 13)]
    assert started["every-1000"] == [_day(25, 13)]
    assert all(max(Counter(found).values()) == 1 for found in told.values())
    assert len(runs) == sum(map(len, started.values()))


async def _look(six, moment, deaths, dice, sessions):
    """Some look, together or alone; who is killed starts again, and one survives."""
    fired = []
    if dice.random() < 0.12:
        deaths.after = dice.randrange(25)
        looks = await asyncio.gather(*(one.tick(moment) for one in six), return_exceptions=True)
        for place, found in enumerate(looks):
            if isinstance(found, Killed):
                six[place] = Scheduler(sessions)
            else:
                fired += found
        deaths.after = None
    return fired + await dice.choice(six).tick(moment)


def _day(day: int, hour: int) -> datetime:
    return datetime(2026, 3, day, hour, tzinfo=UTC)
