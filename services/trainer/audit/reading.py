"""The texts behind a model's worst mistakes, for who may read them: every reading is recorded."""

import asyncio

from services.trainer.audit.mistakes import ReadMistake, read_mistakes
from services.trainer.queries import find_dataset
from services.trainer.snapshots import load_dataset
from services.trainer.workplace import Workplace
from shared.contracts.audit import AUDIT_FILE, AuditReport
from shared.db.audit import audit, person_name
from shared.errors import NotFound
from shared.ml.signed_files import read_signed
from shared.registry import find_version


async def mistakes_of(
    workplace: Workplace, version: str, name: str, limit: int
) -> list[ReadMistake]:
    """The worst mistakes of a model version, with the texts that its dataset still holds.

    The entry in the audit log is committed before anything is returned.

    Raises:
        NotFound: there is no such version, it has no card, or no dataset.
        ArtifactError: its artifact or its dataset is missing or was changed.
    """
    async with workplace.sessions.begin() as session:
        found = await find_version(session, version, name=name)
        if found.dataset_id is None:
            raise NotFound(f"Model {name} version {found.version} names no dataset of this store.")
        dataset = await find_dataset(session, found.dataset_id, found.project_id)
        folder = workplace.store.path(found.uri)
        report = AuditReport.model_validate_json(
            read_signed(folder, AUDIT_FILE, secret=workplace.secret)
        )
        frozen = await asyncio.to_thread(load_dataset, dataset, workplace.store)
        mistakes = list(read_mistakes(report, frozen, limit=limit))
        audit(
            session,
            "model.mistakes.read",
            actor=person_name(),
            target=f"model:{found.id}",
            project_id=found.project_id,
            detail={"dataset": dataset.id, "mistakes": len(mistakes)},
        )
    return mistakes
