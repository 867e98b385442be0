"""What the demo reads back after each round, from the database and the stored artifacts."""

import asyncio
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlmodel import SQLModel, col

from shared.artifacts import FolderStore
from shared.contracts.training import RunKind
from shared.contracts.values import RunStatus
from shared.db.engine import create_sessions
from shared.db.tables import (
    Dataset,
    Feedback,
    FeedbackHistory,
    ModelVersion,
    Preference,
    PreferenceHistory,
    TrainingRun,
)
from shared.errors import NotFound, Unavailable
from shared.jobs import enqueue

_POSTS: tuple[type[SQLModel], ...] = (Feedback, FeedbackHistory, Preference, PreferenceHistory)
_OPEN = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.INTERRUPTED)
_POLL_S = 0.4


@dataclass(frozen=True)
class Trained:
    """A finished run with the model version and the dataset that came of it."""

    run: TrainingRun
    version: ModelVersion
    dataset: Dataset


class Books:
    """The rows of one deployment, read in short transactions of their own."""

    def __init__(self, engine: AsyncEngine, artifacts: Path) -> None:
        self._sessions = create_sessions(engine)
        self._store = FolderStore(artifacts)

    async def stored_posts(self) -> int:
        """Posts that the database holds: live rows and superseded ones."""
        async with self._session() as session:
            counts = [await session.scalar(select(func.count()).select_from(t)) for t in _POSTS]
        return sum(count or 0 for count in counts)

    async def train(self, on_progress: Callable[[str], None]) -> Trained:
        """Queue a training run for the worker and wait for its end.

        Raises:
            Unavailable: the run failed; the message holds its reason.
        """
        async with self._session() as session, session.begin():
            run_id = await enqueue(
                session, TrainingRun, kind=RunKind.REWARD_EMBEDDING, params={}, created_by="demo"
            )
        run = await self._run(run_id)
        while run.status in _OPEN:
            on_progress(_described(run))
            await asyncio.sleep(_POLL_S)
            run = await self._run(run_id)
        if run.status != RunStatus.SUCCEEDED:
            reason = (run.error or "no reason given").strip().splitlines()[-1]
            raise Unavailable(f"Training run {run_id} is {run.status}: {reason}")
        return await self._trained(run)

    def lines(self, dataset: Dataset) -> list[dict[str, Any]]:
        """The lines of a frozen dataset."""
        text = self._store.path(dataset.uri).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def folder(self, version: ModelVersion) -> Path:
        """Where the card and the plots of a model version are."""
        return self._store.path(version.uri)

    async def _run(self, run_id: uuid.UUID) -> TrainingRun:
        async with self._session() as session:
            run = await session.get(TrainingRun, run_id)
        if run is None:
            raise NotFound(f"Training run {run_id} is gone.")
        return run

    async def _trained(self, run: TrainingRun) -> Trained:
        async with self._session() as session:
            version = await session.scalar(
                select(ModelVersion).where(col(ModelVersion.run_id) == run.id)
            )
            dataset = await session.get(Dataset, run.dataset_id)
        if version is None or dataset is None:
            raise NotFound(f"Training run {run.id} left no model version or dataset.")
        return Trained(run, version, dataset)

    def _session(self) -> AsyncSession:
        return self._sessions()


def _described(run: TrainingRun) -> str:
    share, stage = run.progress.get("fraction"), run.progress.get("stage", run.status)
    return f"{stage} {share:.0%}" if isinstance(share, float) else str(stage)
