"""A deployment with schedules, rows that come in, and a clock that tests turn."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from services.trainer.schedules.scheduler import Fired, Scheduler
from shared.contracts.schedules import ScheduleIn
from shared.contracts.training import RunKind, TrainingRequest
from shared.contracts.values import RunStatus
from shared.db.tables import Dataset, Feedback, Job, Preference, Schedule, TrainingRun
from shared.ids import new_id
from shared.schedules.stored import Owner, Standing, find_schedule, list_schedules, put_schedule

RUN = TrainingRequest(kind=RunKind.REWARD_EMBEDDING, recipe={"min_rated": 2})
SUNDAY = datetime(2026, 3, 1, tzinfo=UTC)
OWNER = Owner(1, "tests")


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
            wanted = ScheduleIn.model_validate({"run": RUN, **given})
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

    async def train(self) -> int:
        """Finish every run that waits, as a worker does: it freezes what is settled by then."""
        async with self.sessions.begin() as session:
            waiting = (await session.scalars(_waiting())).all()
            for run in waiting:
                dataset = Dataset(
                    name="d", sha256="", uri="", rows=0, watermark=await oldest(session)
                )
                session.add(dataset)
                await session.flush()
                await session.execute(_finished(run.id, dataset.id))
        return len(waiting)

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


async def oldest(session: AsyncSession) -> int:
    """What a dataset that is frozen now has as its watermark."""
    from services.trainer.queries import settled_before

    return await settled_before(session)


def _waiting() -> Any:
    return select(TrainingRun).where(col(TrainingRun.status) == RunStatus.QUEUED)


def _finished(run_id: Any, dataset_id: int | None) -> Any:
    values = {"status": RunStatus.SUCCEEDED, "dataset_id": dataset_id}
    return update(TrainingRun).where(col(TrainingRun.id) == run_id).values(**values)


@pytest.fixture
def clockwork(sessions: async_sessionmaker[AsyncSession]) -> Clockwork:
    return Clockwork(sessions)


__all__ = ["OWNER", "RUN", "SUNDAY", "Clockwork", "Job", "Preference", "row"]
