"""Where judgements come from: all that may be trained on now, or a frozen dataset."""

import asyncio

from sqlalchemy.ext.asyncio import AsyncSession

from services.trainer.datasets import Evidence, collect_evidence
from services.trainer.queries import find_dataset, trainable_feedback, trainable_preferences
from services.trainer.raters.judgements import of_everything
from services.trainer.snapshots import load_dataset
from services.trainer.splits import group_by_secret
from services.trainer.workplace import Workplace


async def read_judgements(
    session: AsyncSession, workplace: Workplace, dataset_id: int | None = None
) -> Evidence:
    """Every judgement that may be trained on now, or those of a dataset, train and test.

    Raises:
        NotFound: there is no dataset of this number.
        ArtifactError: its file is missing or damaged.
    """
    if dataset_id is not None:
        dataset = await find_dataset(session, dataset_id, workplace.store.project_id)
        return of_everything(await asyncio.to_thread(load_dataset, dataset, workplace.store))
    project_id = workplace.store.project_id
    feedback = await trainable_feedback(session, project_id, workplace.cipher)
    preferences = await trainable_preferences(session, project_id, workplace.cipher)
    group_of = group_by_secret(workplace.secret, project_id)
    return await asyncio.to_thread(collect_evidence, feedback, preferences, group_of)
