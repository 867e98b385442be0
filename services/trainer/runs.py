"""One training run from its claim to its model version, whoever executes it.

Freeze or read the dataset, train aside, store the artifact, gate it, and then in one transaction:
register the version, record where it came from, let it go live if the gate says so, and close the
run. That transaction is fenced by the run's attempt, so a run that lost its claim leaves no trace.
"""

import math
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.trainer.desk import Desk
from services.trainer.examples import RewardDataset
from services.trainer.file_rows import follow_rows
from services.trainer.gates import undecided
from services.trainer.leakage import require_no_leaks
from services.trainer.made import Made
from services.trainer.memory import memory_explained
from services.trainer.methods import Params, maker_of, params_of
from services.trainer.placing import Splitting
from services.trainer.policies.params import OnlineParams
from services.trainer.prepare import evidence_of_file
from services.trainer.progress import Reporter, beat
from services.trainer.queries import find_dataset
from services.trainer.shared_checkpoints import kept_elsewhere
from services.trainer.snapshots import freeze, freeze_feedback, load_dataset
from services.trainer.splits import group_by_secret
from services.trainer.work_folders import work_folder
from services.trainer.workplace import code_version
from shared import registry
from shared.artifacts import ArtifactStore
from shared.contracts.values import RunStatus
from shared.db.columns import Json
from shared.db.tables import Dataset, Lineage, ModelVersion, TrainingRun
from shared.errors import ArtifactError
from shared.jobs import finish, renew
from shared.lineage import dataset_node, keep_erasures_waiting, model_node
from shared.logs import get_logger


@dataclass(frozen=True)
class Finished:
    """What a run leaves behind.

    Attributes:
        version: the registered model version.
        folder: its artifact on this machine.
        gate: the gate's report.
        is_live: whether it is the champion now.
    """

    run_id: uuid.UUID
    version: ModelVersion
    folder: Path
    gate: Json
    is_live: bool


def execute(desk: Desk, reporter: Reporter) -> Finished:
    """Do a claimed run in this thread while its claim is kept fresh in the portal's.

    Raises:
        HeedError: the run cannot be done; its row is the caller's to close.
    """
    with _beating(desk, reporter):
        reporter(0.0, "dataset", {})
        params = params_of(desk.request, desk.workplace)  # before anything is frozen for good
        frozen = desk.transact(lambda session: _dataset_of(session, desk, params))
        dataset = load_frozen(desk, frozen)
        if "split" not in frozen.filters:  # else it was frozen without leaks, or knowingly
            require_no_leaks(dataset)
        with work_folder(desk.workplace.store, desk.run.id, dataset.snapshot_hash) as folder:
            with memory_explained(), kept_elsewhere(desk.workplace.store, desk.run, folder):
                made = maker_of(desk.request.kind)(desk, dataset, params, folder, reporter)
            uri, sha256 = desk.workplace.store.put_folder(made.folder)
        reporter(0.97, "gate", {})
        artifact = registry.NewVersion(
            kind=made.kind,
            sha256=sha256,
            uri=uri,
            metrics=_finite(made.metrics),
            run_id=desk.run.id,
            dataset_id=frozen.id,
            name=desk.request.model_name,
            project_id=desk.run.project_id,
        )
        return _gate_and_record(desk, artifact, dataset, made, frozen.filters.get("split"))


def _gate_and_record(
    desk: Desk,
    artifact: registry.NewVersion,
    dataset: RewardDataset,
    made: Made,
    split: Json | None,
) -> Finished:
    """Judge against the live model, again if another one went live in the meantime."""
    while True:
        live = desk.transact(lambda session: _live(session, artifact))
        gate = _gate(desk.workplace.store, artifact, live, made, split)
        judged = _Judged(artifact, live, gate, dataset.snapshot_hash, made.used)
        finished = desk.transact(partial(_record, desk=desk, judged=judged))
        if finished is not None:
            return finished


def _gate(
    store: ArtifactStore,
    artifact: registry.NewVersion,
    live: ModelVersion | None,
    made: Made,
    split: Json | None,
) -> Json:
    """The gate's report; over a live model whose files are missing a person has to decide."""
    candidate = store.path(artifact.uri)
    if live is None:
        return made.judge(candidate, None, split)
    try:
        champion = store.path(live.uri)
    except ArtifactError as error:
        told = f"the live model {live.name}@{live.version} cannot be loaded: {error.detail}"
        get_logger("trainer").warning("not judged by the live model", why=told)
        return undecided(made.judge(candidate, None, split), told)
    return made.judge(candidate, champion, split)


@dataclass(frozen=True)
class _Judged:
    artifact: registry.NewVersion
    live: ModelVersion | None
    gate: Json
    read_sha256: str
    used: Sequence[uuid.UUID]


async def _record(session: AsyncSession, *, desk: Desk, judged: _Judged) -> Finished | None:
    """Everything a finished run writes; None when the live model is another one by now."""
    artifact, gate = judged.artifact, judged.gate
    await registry.lock_name(session, artifact.project_id, artifact.name)
    live = await _live(session, artifact)
    if (live.id if live else None) != (judged.live.id if judged.live else None):
        return None
    version = await registry.register_version(session, artifact)
    version.gate = gate
    await _say_what_it_read(session, version, judged.read_sha256)
    for used in sorted(set(judged.used)):
        session.add(
            Lineage(
                child=model_node(version.id),
                parent=model_node(used),
                project_id=version.project_id,
            )
        )
    if gate["promotes"]:
        by = desk.run.created_by or "trainer"
        await registry.promote(session, version.id, verdict=gate, changed_by=by)
    await finish(
        session,
        desk.run,
        RunStatus.SUCCEEDED,
        error=None,  # of an earlier attempt
        metrics={**artifact.metrics, "gate": gate},
        progress={"fraction": 1.0, "stage": "done", "numbers": {}},
        dataset_id=artifact.dataset_id,
        model_version_id=version.id,
        artifact_uri=artifact.uri,
        code_version=code_version(),  # of this process, which may be newer than the worker
    )
    folder = desk.workplace.store.path(artifact.uri)
    return Finished(desk.run.id, version, folder, gate, is_live=gate["promotes"])


async def _say_what_it_read(session: AsyncSession, version: ModelVersion, read_sha256: str) -> None:
    """The model comes of its dataset; of which state, the time of the edge says.

    An erasure may have rewritten the dataset since it was read: then the model holds something of
    rows that the dataset holds no more.
    """
    dataset = await session.get_one(Dataset, version.dataset_id, with_for_update={"read": True})
    edge = Lineage(
        child=model_node(version.id),
        parent=dataset_node(dataset.id),
        project_id=version.project_id,
    )
    if dataset.sha256 != read_sha256:
        edge.created_at = dataset.created_at
    session.add(edge)


def load_frozen(desk: Desk, frozen: Dataset) -> RewardDataset:
    """What the dataset holds, also when an erasure rewrites it at this moment.

    Raises:
        ArtifactError: its file is missing, or is not what was frozen.
    """
    store = desk.workplace.store
    try:
        return load_dataset(frozen, store)
    except ArtifactError:
        now = desk.transact(lambda session: find_dataset(session, frozen.id, frozen.project_id))
        if now.sha256 == frozen.sha256:
            raise
        return load_dataset(now, store)


async def _live(session: AsyncSession, artifact: registry.NewVersion) -> ModelVersion | None:
    return await registry.champion(session, artifact.name, artifact.project_id)


async def _dataset_of(session: AsyncSession, desk: Desk, params: Params) -> Dataset:
    """The dataset an earlier attempt froze, else a new one; a retry learns from the same rows.

    One of too few judgements is refused. Only who writes responses is given unjudged prompts.
    """
    run_id = desk.run.id
    known = await session.scalar(
        select(col(TrainingRun.dataset_id)).where(col(TrainingRun.id) == run_id)
    )
    if known is not None:
        return await find_dataset(session, known, desk.run.project_id)
    splitting = Splitting(
        desk.workplace.settings.test_share,
        test_after=desk.request.test_after,
        test_newest=desk.request.test_newest,
        allow_near_duplicates=desk.request.allow_near_duplicates,
    )
    freezing = desk.workplace.freezing(
        desk.run.created_by,
        min_judged=params.min_rated,
        recorded_prompts=params.recorded_prompts if isinstance(params, OnlineParams) else 0,
        splitting=splitting,
    )
    if desk.request.dataset_file is None:
        dataset = await freeze_feedback(session, freezing)
    else:
        path = Path(desk.request.dataset_file)
        group_of = group_by_secret(freezing.secret, desk.run.project_id)
        evidence, sides = evidence_of_file(path, group_of)
        await keep_erasures_waiting(session)
        left_out = await follow_rows(session, evidence, desk.run.project_id)
        dataset = await freeze(session, freezing, evidence, name=path.name, proposed=sides)
        dataset.filters = {**dataset.filters, "left_out": left_out}
    await renew(session, desk.run, dataset_id=dataset.id)
    return dataset


@contextmanager
def _beating(desk: Desk, reporter: Reporter) -> Iterator[None]:
    heart = desk.portal.start_task_soon(beat, desk.workplace.sessions, desk.run, reporter)
    try:
        yield
    finally:
        heart.cancel()


def _finite(metrics: dict[str, float | int | str | None]) -> Json:
    """Metrics as JSON can keep them: no NaN, no infinity."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in metrics.items()
    }
