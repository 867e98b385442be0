"""A deployment with schedules, rows that come in, and a clock that tests turn."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from services.trainer.queries import settled_before
from services.trainer.schedules.scheduler import Fired, Scheduler
from shared.contracts.schedules import ScheduleIn
from shared.contracts.training import RunKind, TrainingRequest
from shared.contracts.values import RunStatus
from shared.db.tables import Dataset, Feedback, Job, Schedule, TrainingRun
from shared.ids import new_id
from shared.schedules.stored import Owner, Standing, find_schedule, list_schedules, put_schedule

RUN = TrainingRequest(kind=RunKind.REWARD_EMBEDDING, recipe={"min_rated": 2})
SUNDAY = datetime(2026, 3, 1, tzinfo=UTC)
OWNER = Owner(1, "tests")
_WAITING = select(col(TrainingRun.id)).where(col(TrainingRun.status) == RunStatus.QUEUED)
_FINISH_JOBS = update(Job).values(status=RunStatus.SUCCEEDED)


@dataclass
class Clockwork:
    """Schedules of one deployment, looked at by one scheduler at the time of `now`."""

    sessions: async_sessionmaker[AsyncSession]
    now: datetime = SUNDAY
    scheduler: Scheduler = field(init=False)

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(self.sessions)

    async def set(self, name: str = "nightly", **given: Any) -> bool:
        """Store a schedule; whether it is a new one. It trains an embedding model, if not said."""
        async with self.sessions.begin() as session:
            wanted = ScheduleIn.model_validate(
                {"run": None if "monitoring" in given else RUN, **given}
            )
            return await put_schedule(session, name, wanted, OWNER, self.now)

    async def tick(self, at: str | datetime | None = None) -> list[Fired]:
        """Look once, at a later moment if one is given."""
        if at is not None:
            moment = datetime.fromisoformat(at) if isinstance(at, str) else at
            self.now = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return await self.scheduler.tick(self.now)

    async def later(self, **by: float) -> list[Fired]:
        """Look once after so much time."""
        return await self.tick(self.now + timedelta(**by))

    async def post(self, count: int = 1, table: Any = Feedback, **given: Any) -> None:
        """Commit consented rows."""
        async with self.sessions.begin() as session:
            session.add_all(row(table, given) for _ in range(count))

    async def train(self) -> None:
        """Finish whatever waits, as a worker does: a run freezes what is settled by then."""
        async with self.sessions.begin() as session:
            await session.execute(_FINISH_JOBS)
            for run_id in (await session.scalars(_WAITING)).all():
                watermark = await settled_before(session)
                dataset = Dataset(name="d", sha256="", uri="", rows=0, watermark=watermark)
                session.add(dataset)
                await session.flush()
                values = {"status": RunStatus.SUCCEEDED, "dataset_id": dataset.id}
                one = update(TrainingRun).where(col(TrainingRun.id) == run_id)
                await session.execute(one.values(**values))

    async def runs(self, table: Any = TrainingRun) -> list[Any]:
        """The runs or jobs there are, oldest first."""
        async with self.sessions() as session:
            return list(await session.scalars(select(table).order_by(col(table.id))))

    async def stored(self, name: str = "nightly") -> Schedule:
        """A schedule's row."""
        return (await self.standing(name)).schedule

    async def standing(self, name: str = "nightly") -> Standing:
        """A schedule as people are shown it."""
        async with self.sessions() as session:
            return await find_schedule(session, name, 1)

    async def counted(self) -> list[int | None]:
        """How far each threshold is, as people are shown it."""
        async with self.sessions() as session:
            return [standing.counted for standing in await list_schedules(session, 1)]


def row(table: Any, given: dict[str, Any]) -> Any:
    """A consented row of its own target and rater."""
    unique = new_id().hex
    values: dict[str, Any] = {"target": unique, "clinician_id": unique, "consent_training": True}
    if table is Feedback:
        values |= {"feedback_id": unique}
    else:
        values |= {"preference_id": unique, "prompt": "p", "response_a": "a", "response_b": "b"}
        values |= {"outcome": "a", "preferred": "a"}
    return table(**values | given)


@pytest.fixture
def clockwork(sessions: async_sessionmaker[AsyncSession]) -> Clockwork:
    return Clockwork(sessions)
