"""Goes on with an erasure where files lie: snapshots, kept exports, leftovers of training runs.

The database part is done and committed. Every step here can be done again, so whoever takes the
job up after a crash begins at the beginning: what an earlier attempt has rewritten holds nothing
more to take out, and the receipt says what it was before.
"""

import asyncio
import json
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Select, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.trainer.lines import Line, count_lines, rows_of
from services.trainer.snapshots import read_lines, store_snapshot
from services.trainer.workplace import Workplace, run_folder, run_log, tidy
from shared.artifacts import ArtifactStore
from shared.contracts.values import RunStatus
from shared.db.columns import Json
from shared.db.tables import Dataset, Erasure, Job, Lineage, ModelVersion, TrainingRun
from shared.exports import exports_holding, remove_export
from shared.jobs import finish
from shared.lineage import (
    add_edges,
    clear_members,
    dataset_node,
    datasets_holding,
    erasure_node,
    keep_erasures_waiting,
    model_node,
    tainted,
    wait_for_datasets,
)
from shared.privacy.signing import sign


@dataclass(frozen=True)
class Task:
    """One erasure's work on files.

    Attributes:
        row_ids: ids of the row versions that lines of snapshots must not come from.
        interactions: ids of the rows of recorded exchanges that exports must not hold.
    """

    workplace: Workplace
    store: ArtifactStore
    erasure_id: uuid.UUID
    project_id: int
    row_ids: frozenset[str]
    interactions: tuple[str, ...]

    @classmethod
    def of(cls, workplace: Workplace, job: Job) -> "Task":
        """The work that a claimed job asks for."""
        return cls(
            workplace,
            workplace.store.of_project(job.project_id),
            uuid.UUID(job.params["erasure_id"]),
            job.project_id,
            frozenset(job.params.get("row_ids", ())),
            tuple(job.params.get("interactions", ())),
        )

    @property
    def node(self) -> str:
        """The erasure in the lineage."""
        return erasure_node(self.erasure_id)


async def carry_out(workplace: Workplace, job: Job) -> None:
    """Rewrite, remove, and finish the receipt together with the job.

    Raises:
        RunInterrupted: the claim was lost; what was done stays, the rest is somebody else's.
        ArtifactError: a file is damaged or cannot be written.
    """
    task = Task.of(workplace, job)
    datasets = await _find_datasets(task)
    for dataset_id in datasets:
        await _rewrite(task, dataset_id)
    await _remove_leftovers(task, datasets)
    async with workplace.sessions.begin() as session:
        await _finish(session, task)
        await finish(session, job, RunStatus.SUCCEEDED, params={"erasure_id": str(task.erasure_id)})


async def _find_datasets(task: Task) -> list[int]:
    """The datasets that hold erased rows or held them, those in the making when they went too."""
    async with task.workplace.sessions.begin() as session:
        await wait_for_datasets(session)
        erasure = await session.get_one(Erasure, task.erasure_id)
        held = set(map(dataset_node, await datasets_holding(session, erasure.seqs)))
        known = select(col(Lineage.child)).where(col(Lineage.parent) == task.node)
        nodes = set(await session.scalars(known))
        await add_edges(session, task.node, held - nodes, project_id=task.project_id)
        return sorted(int(node.partition(":")[2]) for node in nodes | held)


async def _rewrite(task: Task, dataset_id: int) -> None:
    """Take the erased rows out of one dataset; afterwards nothing leads to its old file."""
    async with task.workplace.sessions.begin() as session:
        await keep_erasures_waiting(session)
        erasure = await session.get_one(Erasure, task.erasure_id, with_for_update=True)
        dataset = await session.get(Dataset, dataset_id, with_for_update=True)
        members = (await datasets_holding(session, erasure.seqs)).get(dataset_id)
        if dataset is None or not members:
            return  # an earlier attempt has done it
        before = dataset.sha256
        kept = await asyncio.to_thread(_kept_lines, task, dataset)
        dataset.uri, dataset.sha256 = await asyncio.to_thread(store_snapshot, task.store, kept)
        dataset.counts = dict(count_lines(kept))
        dataset.rows -= len(members)
        dataset.previous_sha256 = [*dataset.previous_sha256, before]
        await clear_members(session, dataset_id, members)
        await add_edges(session, task.node, [dataset_node(dataset_id)], project_id=task.project_id)
        rewritten = {
            "id": dataset_id,
            "rows_removed": len(members),
            "sha256_before": before,
            "sha256_after": dataset.sha256,
        }
        _note(erasure, "datasets", [rewritten])


def _kept_lines(task: Task, dataset: Dataset) -> list[Line]:
    """The lines that come from no erased row.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    lines = read_lines(dataset, task.store)
    return [line for line in lines if task.row_ids.isdisjoint(rows_of(line))]


async def _remove_leftovers(task: Task, datasets: Sequence[int]) -> None:
    """Old snapshots, kept exports, and what runs and dead processes left half-written."""
    await tidy(task.workplace)
    await _remove_uncommitted(task)
    settings = task.workplace.settings
    async with task.workplace.sessions.begin() as session:
        erasure = await session.get_one(Erasure, task.erasure_id, with_for_update=True)
        exports = await asyncio.to_thread(
            exports_holding, settings.data_dir, erasure.seqs, task.interactions
        )
        _note(erasure, "exports_removed", [path.name for path in exports])
        old = await _unused_files(session, erasure)
        runs = list(await session.scalars(_runs_on(datasets)))
        wrote = update(TrainingRun).where(col(TrainingRun.id).in_(runs))
        await session.execute(wrote.values(log_tail=None))
    await asyncio.to_thread(_remove_files, task, old, exports)
    await asyncio.to_thread(_remove_traces, task, runs)


async def _remove_uncommitted(task: Task) -> None:
    """Snapshots with the rows that a process stored and did not live to enter in the database."""
    async with task.workplace.sessions.begin() as session:
        await wait_for_datasets(session)
        known = set(await session.scalars(select(col(Dataset.uri))))
        await asyncio.to_thread(_remove_unknown, task, known)


def _remove_unknown(task: Task, known: Collection[str]) -> None:
    for uri in task.store.snapshots():
        if uri not in known and _holds_rows(task, uri):
            task.store.remove(uri)


def _holds_rows(task: Task, uri: str) -> bool:
    with task.store.path(uri).open(encoding="utf-8") as lines:
        return any(not task.row_ids.isdisjoint(rows_of(json.loads(line))) for line in lines)


async def _unused_files(session: AsyncSession, erasure: Erasure) -> list[str]:
    """The URIs of the files that were replaced, without those another dataset still is."""
    replaced = {
        _uri_before(dataset.uri, dataset.sha256, item["sha256_before"])
        for item in erasure.receipt.get("datasets", ())
        if (dataset := await session.get(Dataset, item["id"])) is not None
    }
    in_use = select(col(Dataset.uri)).where(col(Dataset.uri).in_(replaced))
    return sorted(replaced - set(await session.scalars(in_use)))


def _uri_before(uri: str, sha256: str, before: str) -> str:
    return uri.replace(sha256, before)


def _runs_on(datasets: Sequence[int]) -> Select[uuid.UUID]:
    """Runs that are over or wait; what one that is at work has on disk goes when it ends."""
    return select(col(TrainingRun.id)).where(
        col(TrainingRun.dataset_id).in_(datasets), col(TrainingRun.status) != RunStatus.RUNNING
    )


def _remove_files(task: Task, old: Sequence[str], exports: Sequence[Path]) -> None:
    for uri in old:
        task.store.remove(uri)
    for path in exports:
        remove_export(path)


def _remove_traces(task: Task, runs: Sequence[uuid.UUID]) -> None:
    """Checkpoints, from which a run would go on with what it learned, and logs."""
    task.store.remove_partial(only={run_folder(run_id) for run_id in runs})
    for run_id in runs:
        task.store.remove_checkpoints(run_id)
        run_log(task.workplace.settings, run_id).unlink(missing_ok=True)


async def _finish(session: AsyncSession, task: Task) -> None:
    erasure = await session.get_one(Erasure, task.erasure_id, with_for_update=True)
    if erasure.finished_at is not None:
        return
    erasure.finished_at = datetime.now(UTC)
    await session.flush()  # a rewritten dataset is clean from here on
    receipt = {"datasets": [], "exports_removed": [], **erasure.receipt}
    receipt |= {
        "models_tainted": await _tainted_models(session, task),
        "finished_at": erasure.finished_at.isoformat(timespec="seconds"),
        "state": "finished",
    }
    erasure.receipt = sign(task.workplace.secret, receipt)


async def _tainted_models(session: AsyncSession, task: Task) -> list[Json]:
    nodes = await tainted(session, task.project_id)
    ours = {node for node, erasures in nodes.items() if task.erasure_id in erasures}
    statement = select(ModelVersion).where(col(ModelVersion.project_id) == task.project_id)
    by_age = statement.order_by(col(ModelVersion.name), col(ModelVersion.version))
    return [
        {"id": str(version.id), "name": version.name, "version": version.version}
        for version in await session.scalars(by_age)
        if model_node(version.id) in ours
    ]


def _note(erasure: Erasure, name: str, found: Sequence[Any]) -> None:
    """Add to a list of the receipt, before the files in question go."""
    noted = erasure.receipt.get(name, [])
    erasure.receipt = erasure.receipt | {
        name: noted + [item for item in found if item not in noted]
    }
