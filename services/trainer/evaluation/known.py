"""Which cases a model may know by heart: their prompts were trained on, as they are or nearly.

Of the prompts that a deployment trains on it keeps keyed hashes alone, which tell equal from other
and nothing of how near. Near-duplicates are looked for among the prompts of the datasets that the
models were trained on, as far as these are still here.
"""

from collections.abc import Collection, Sequence

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.trainer.near_duplicates import near_clusters
from services.trainer.snapshots import read_lines
from services.trainer.splits import normalise_prompt
from shared.artifacts import ArtifactStore
from shared.contracts.values import Side
from shared.db.tables import Dataset


async def learned_prompts(
    session: AsyncSession, store: ArtifactStore, snapshot: str
) -> set[str] | None:
    """The normalised prompts on the training side of a snapshot; None when it is not here.

    Args:
        session: of the deployment's database.
        store: where its datasets lie.
        snapshot: the hash of the dataset, as the model's manifest names it; rows that were erased
            since are not in it any more.

    Raises:
        ArtifactError: the dataset's file is missing or damaged.
    """
    statement = select(Dataset).where(
        col(Dataset.project_id) == store.project_id,
        or_(
            col(Dataset.sha256) == snapshot,
            col(Dataset.previous_sha256).contains([snapshot]),
        ),
    )
    dataset = await session.scalar(statement.order_by(col(Dataset.id)).limit(1))
    if dataset is None:
        return None
    lines = read_lines(dataset, store)
    return {normalise_prompt(line["prompt"]) for line in lines if line["split"] == Side.TRAIN}


def known_nearly(prompts: Sequence[str], learned: Collection[str]) -> list[bool]:
    """Of each prompt whether it is one of the learned ones or in a cluster with one.

    Clusters are those by which datasets are split: see `services.trainer.near_duplicates`.

    Args:
        prompts: of the cases.
        learned: normalised prompts that were trained on.
    """
    if not learned:
        return [False] * len(prompts)
    asked = [normalise_prompt(prompt) for prompt in prompts]
    texts = sorted({*asked, *learned})
    label = dict(zip(texts, near_clusters(texts).tolist(), strict=True))
    trained = {label[text] for text in learned}
    return [label[text] in trained for text in asked]
