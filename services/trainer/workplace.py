"""What every training run needs at hand: settings, database, artifact store and secret."""

import asyncio
import hashlib
import time
import uuid
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

import services.trainer
import shared.ml
from services.trainer.config import TrainerSettings
from services.trainer.placing import Splitting
from services.trainer.snapshots import Freezing
from shared.artifacts import ArtifactStore, open_store
from shared.contracts.values import RunStatus
from shared.db.engine import create_engine, create_sessions
from shared.db.faults import reaching_database
from shared.db.migrate import require_current
from shared.db.secret_check import claim_or_refuse
from shared.db.tables import TrainingRun
from shared.errors import HeedError
from shared.jobs import mark_interrupted
from shared.logs import get_logger
from shared.privacy import fingerprint, load_secret
from shared.privacy.fields import FieldCipher, open_cipher

_KEEP_LOGS_S = 30 * 24 * 3600


@dataclass(frozen=True)
class Workplace:
    """Everything a run reaches for."""

    settings: TrainerSettings
    sessions: async_sessionmaker[AsyncSession]
    store: ArtifactStore
    secret: bytes
    cipher: FieldCipher

    def freezing(
        self,
        created_by: str | None,
        *,
        min_judged: int = 0,
        min_pairs: int = 0,
        recorded_prompts: int = 0,
        splitting: Splitting | None = None,
    ) -> Freezing:
        """How this deployment freezes datasets; split by its settings, or as wished."""
        return Freezing(
            self.store,
            self.secret,
            splitting or Splitting(self.settings.test_share),
            self.cipher,
            created_by=created_by,
            min_judged=min_judged,
            min_pairs=min_pairs,
            recorded_prompts=recorded_prompts,
        )


@asynccontextmanager
async def open_workplace(settings: TrainerSettings, url: str) -> AsyncIterator[Workplace]:
    """A workplace on a database of the current schema.

    Raises:
        DatabaseUnavailable: it cannot be reached.
        SchemaOutdated: the database needs `heed migrate`.
        ConfigError: the database belongs to another secret, or the master keys are wrong.
    """
    engine = create_engine(url)
    try:
        sessions, secret = create_sessions(engine), load_secret(settings)
        with reaching_database():
            await require_current(engine)
            await claim_or_refuse(sessions, fingerprint(secret))
        cipher = open_cipher(settings, sessions)
        yield Workplace(settings, sessions, open_store(settings), secret, cipher)
    finally:
        await engine.dispose()


async def tidy(workplace: Workplace) -> list[TrainingRun]:
    """Mark silent runs as interrupted; clear away what nobody will go on from, and old logs.

    What the disk or the bucket refuses is tried again the next time.

    Raises:
        DatabaseUnavailable: Postgres cannot be reached.
    """
    known = await asyncio.to_thread(_look_at, workplace.store)  # before we ask which may go on
    with reaching_database():
        async with workplace.sessions.begin() as session:
            interrupted = await mark_interrupted(session, TrainingRun)
            going_on = await session.scalars(_may_go_on(workplace.settings.keep_stopped_days))
    kept = {run_folder(run_id) for run_id in going_on}
    await asyncio.to_thread(_clear_away, workplace, known, kept)
    return interrupted


def _look_at(store: ArtifactStore) -> list[str]:
    """The runs that have checkpoints in the store; copies of what was deleted there go first.

    Nobody waits long for a bucket that is away: another look comes soon.
    """
    with _as_far_as_possible():
        if store.is_tidying_due():
            store.forget_removed()
            return store.runs_with_checkpoints()
    return []


def _clear_away(workplace: Workplace, runs: Collection[str], kept: Collection[str]) -> None:
    """Folders, checkpoints and logs of runs that are not among the kept."""
    with _as_far_as_possible():
        workplace.store.remove_partial(keep=kept)
    with _as_far_as_possible():
        for run_id in runs:
            if run_folder(run_id) not in kept:
                workplace.store.remove_checkpoints(run_id)
    with _as_far_as_possible():
        _remove_old_logs(workplace.settings.data_dir / "logs", keep=kept)


@contextmanager
def _as_far_as_possible() -> Iterator[None]:
    try:
        yield
    except (HeedError, OSError) as error:
        told = error.detail if isinstance(error, HeedError) else str(error)
        get_logger("trainer").warning("the artifact store was not tidied", error=told)


def _may_go_on(keep_stopped_days: float) -> Select[uuid.UUID]:
    """Runs that will go on from their checkpoints, or that somebody may yet resume."""
    status, ended = col(TrainingRun.status), col(TrainingRun.finished_at)
    return select(col(TrainingRun.id)).where(
        status.in_([RunStatus.QUEUED, RunStatus.RUNNING])
        | (col(TrainingRun.attempt) < col(TrainingRun.max_attempts))
        & (status == RunStatus.INTERRUPTED)
        | status.in_([RunStatus.CANCELLED, RunStatus.FAILED, RunStatus.INTERRUPTED])
        & (ended > func.now() - timedelta(days=keep_stopped_days))
    )


def run_log(settings: TrainerSettings, run_id: object) -> Path:
    """Where a run of the worker writes; kept for 30 days after its last line."""
    return settings.data_dir / "logs" / f"{run_folder(run_id)}.log"


def _remove_old_logs(folder: Path, keep: Collection[str]) -> None:
    oldest = time.time() - _KEEP_LOGS_S
    for path in folder.glob("run-*.log"):
        if path.stem not in keep and path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)


def run_folder(run_id: object) -> str:
    """The name of a run's folder for work in progress."""
    return f"run-{run_id}"


@cache
def code_version() -> str:
    """The release and a hash of the code that trains and scores, exact in a checkout too."""
    digest = hashlib.sha256()
    for package in (services.trainer, shared.ml):
        for path in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(path.read_bytes())
    return f"{version('heed-rlhf')}+{digest.hexdigest()[:12]}"
