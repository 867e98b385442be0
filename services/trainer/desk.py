"""A claimed run on the desk of whoever executes it: what it is asked to do, and its database."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from anyio.from_thread import BlockingPortal
from sqlalchemy.ext.asyncio import AsyncSession

from services.trainer.workplace import Workplace
from shared.contracts.training import TrainingRequest
from shared.db.faults import reaching_database
from shared.db.tables import TrainingRun
from shared.errors import DatabaseUnavailable

T = TypeVar("T")
_DATABASE_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Desk:
    """A claimed run on the desk of the thread that executes it; the portal does its database."""

    run: TrainingRun
    workplace: Workplace
    portal: BlockingPortal

    @classmethod
    def of(cls, run: TrainingRun, workplace: Workplace, portal: BlockingPortal) -> "Desk":
        """The run's desk: what it reads, and what it stores, is of its project."""
        store = workplace.store.of_project(run.project_id)
        return cls(run, replace(workplace, store=store), portal)

    @property
    def request(self) -> TrainingRequest:
        """What the run is asked to do."""
        return TrainingRequest.model_validate({**self.run.params, "kind": self.run.kind})

    def transact(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """What `work` returns, committed; a database that is restarting is waited for.

        Raises:
            DatabaseUnavailable: it stayed away for a minute.
            RunInterrupted: the run's claim was lost.
        """
        deadline = time.monotonic() + _DATABASE_PATIENCE_S
        while True:
            try:
                return self.portal.call(self._transact_once, work)
            except DatabaseUnavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1.0)

    async def _transact_once(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        with reaching_database():
            async with self.workplace.sessions.begin() as session:
                return await work(session)
