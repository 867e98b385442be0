"""What an erasure leaves behind: its row and receipt, the audit entry, the lineage, the job."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from services.feedback_api.erasure.holdings import Held
from shared.contracts.values import ErasureKind
from shared.db.audit import audit
from shared.db.columns import Json
from shared.db.tables import Erasure, Job
from shared.ids import new_id
from shared.jobs import enqueue
from shared.lineage import add_edges, dataset_node, datasets_holding, erasure_node

JOB = "erasure"  # the kind of the job that goes on with an erasure, and its queue
ATTEMPTS = 8


@dataclass(frozen=True)
class Cause:
    """Why rows are erased: the person's pseudonym, or the table whose rows were kept too long."""

    project_id: int
    kind: ErasureKind
    person: str
    actor: str
    deadline: datetime | None = None


async def record(session: AsyncSession, cause: Cause, held: Held, gone: Counter[str]) -> Erasure:
    """The erasure of what was held, of which so many rows of each table are gone."""
    seqs = held.seqs
    erasure = Erasure(
        id=new_id(),
        project_id=cause.project_id,
        kind=cause.kind,
        person=cause.person,
        seqs=seqs,
        requested_by=cause.actor,
    )
    erasure.receipt = _receipt(cause, erasure, gone)
    session.add(erasure)
    audit(
        session,
        "subject.erase" if cause.kind is not ErasureKind.RETENTION else "rows.expire",
        actor=cause.actor,
        target=f"{cause.kind}:{cause.person}",
        project_id=cause.project_id,
        detail={"erasure": str(erasure.id), "rows": dict(+gone)},
    )
    await session.flush()
    datasets = await datasets_holding(session, seqs)
    nodes = map(dataset_node, datasets)
    await add_edges(session, erasure_node(erasure.id), nodes, project_id=cause.project_id)
    await enqueue(
        session,
        Job,
        kind=JOB,
        params={
            "erasure_id": str(erasure.id),
            "row_ids": [str(row_id) for row_id in held.row_ids_in_datasets],
            "interactions": sorted(map(str, held.interactions)),
        },
        queue=JOB,
        project_id=cause.project_id,
        max_attempts=ATTEMPTS,
        created_by=cause.actor,
    )
    return erasure


def _receipt(cause: Cause, erasure: Erasure, gone: Counter[str]) -> Json:
    return {
        "erasure_id": str(erasure.id),
        "project_id": cause.project_id,
        "kind": cause.kind,
        "person": cause.person,
        "requested_by": cause.actor,
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": dict(sorted((+gone).items())),
        "deadline": cause.deadline and cause.deadline.isoformat(timespec="seconds"),
        "state": "pending",
    }
