"""Frozen datasets: the text as a file named by its hash, the rows as bits, the sides for good.

Everything of one snapshot happens in one transaction: reading the posts, fixing the sides of new
prompt groups, storing the dataset with its membership, and marking its rows `processed`.
"""

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from services.trainer.datasets import Evidence, collect_evidence
from services.trainer.examples import RewardDataset
from services.trainer.lines import (
    Line,
    count_lines,
    in_order,
    preference_line,
    read_snapshot,
    snapshot_lines,
)
from services.trainer.placing import Splitting, place
from services.trainer.queries import (
    mark_processed,
    settled_before,
    trainable_feedback,
    trainable_preferences,
    trainable_steps,
)
from services.trainer.recorded import add_recorded_prompts
from services.trainer.splits import group_by_secret
from shared.artifacts import ArtifactStore, file_sha256
from shared.contracts.values import Event, Side
from shared.db.events import announce
from shared.db.tables import Dataset, DatasetRows
from shared.errors import ArtifactError, NotEnoughData
from shared.lineage import CHUNK, keep_erasures_waiting
from shared.privacy.fields import FieldCipher


@dataclass(frozen=True)
class Freezing:
    """What a snapshot is made with: its store, how prompts are grouped and split, the cipher.

    A snapshot of fewer than `min_judged` judgements or `min_pairs` comparisons is refused before
    anything is stored. One of what people posted takes in up to `recorded_prompts` prompts of
    interactions that nobody judged.
    """

    store: ArtifactStore
    secret: bytes
    splitting: Splitting
    cipher: FieldCipher
    created_by: str | None = None
    min_judged: int = 0
    min_pairs: int = 0
    recorded_prompts: int = 0


async def freeze_feedback(
    session: AsyncSession, freezing: Freezing, *, name: str = "feedback"
) -> Dataset:
    """A new dataset of every post that may be trained on now.

    Raises:
        NotEnoughData: there are too few judgements or comparisons.
        ArtifactError: its file cannot be stored.
    """
    project_id = freezing.store.project_id
    await keep_erasures_waiting(session)
    watermark = await settled_before(session)
    feedback = await trainable_feedback(session, project_id, freezing.cipher)
    preferences = await trainable_preferences(session, project_id, freezing.cipher)
    steps = await trainable_steps(session, project_id, freezing.cipher)
    group_of = group_by_secret(freezing.secret, project_id)
    evidence = await asyncio.to_thread(collect_evidence, feedback, preferences, group_of, steps)
    await add_recorded_prompts(
        session,
        evidence,
        most=freezing.recorded_prompts,
        project_id=project_id,
        cipher=freezing.cipher,
        group_of=group_of,
    )
    dataset = await freeze(session, freezing, evidence, name=name)
    dataset.watermark = watermark
    return dataset


async def freeze(
    session: AsyncSession,
    freezing: Freezing,
    evidence: Evidence,
    *,
    name: str,
    proposed: Mapping[bytes, Side] | None = None,
) -> Dataset:
    """A new dataset of this evidence; `proposed` sides hold for clusters not seen before.

    Raises:
        NotEnoughData: there are too few judgements or comparisons.
        LeakingDataset: the proposed sides put near-duplicates on both sides.
        InvalidInput: it cannot be split by time.
        ArtifactError: its file cannot be stored.
    """
    _require_enough(evidence, freezing)
    store = freezing.store
    placed = await place(
        session, evidence, freezing.splitting, project_id=store.project_id, proposed=proposed
    )
    lines = snapshot_lines(placed.evidence, placed.sides)
    uri, sha256 = await asyncio.to_thread(store_snapshot, store, lines)
    dataset = Dataset(
        project_id=store.project_id,
        name=name,
        sha256=sha256,
        uri=uri,
        rows=len(evidence.seqs),
        counts=dict(count_lines(lines)),
        filters={"split": placed.facts},
        created_by=freezing.created_by,
    )
    session.add(dataset)
    await session.flush()
    session.add_all(
        DatasetRows(chunk=chunk, dataset_id=dataset.id, bits=bits)
        for chunk, bits in membership_bits(evidence.seqs)
    )
    await session.flush()
    await mark_processed(session, sorted(evidence.seqs))
    announce(
        session,
        Event.DATASET_FROZEN,
        {"dataset_id": dataset.id, "rows": dataset.rows, "sha256": dataset.sha256},
        project_id=dataset.project_id,
    )
    return dataset


def membership_bits(seqs: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    """The bitmap of each chunk that has members, in Postgres's order of bits.

    Bit i of chunk c stands for row version c · 65,536 + i; `get_bit` counts from the least
    significant bit of the first byte.
    """
    chunks: dict[int, bytearray] = {}
    for seq in seqs:
        chunk, bit = divmod(seq, CHUNK)
        bits = chunks.setdefault(chunk, bytearray(CHUNK // 8))
        bits[bit // 8] |= 1 << (bit % 8)
    for chunk in sorted(chunks):
        yield chunk, bytes(chunks[chunk])


def load_dataset(dataset: Dataset, store: ArtifactStore) -> RewardDataset:
    """The comparisons and ratings of a frozen dataset.

    Raises:
        ArtifactError: its file is missing, or is not what was frozen.
    """
    return read_snapshot(read_lines(dataset, store), dataset.sha256)


def read_lines(dataset: Dataset, store: ArtifactStore) -> Iterator[Line]:
    """The lines of a dataset's file, once it is known to be what was frozen.

    Raises:
        ArtifactError: its file is missing, or is not what was frozen.
    """
    path = store.path(dataset.uri)
    if file_sha256(path) != dataset.sha256:
        raise ArtifactError(
            f"The file of dataset {dataset.id} is damaged: its hash is not the one that was "
            "frozen. Restore it from a backup, or freeze a new dataset."
        )
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def preference_lines(dataset: RewardDataset) -> Iterator[dict[str, Any]]:
    """Every comparison as a line of a preferences file, train before test."""
    for pair in dataset.train_pairs:
        yield preference_line(pair, Side.TRAIN)
    for pair in dataset.test_pairs:
        yield preference_line(pair, Side.TEST)


def _require_enough(evidence: Evidence, freezing: Freezing) -> None:
    if evidence.judged < freezing.min_judged:
        raise NotEnoughData(
            f"Training needs at least {freezing.min_judged} rated responses or comparisons and "
            f"there are {evidence.judged}; collect more feedback or lower --min-rated."
        )
    if len(evidence.pairs) < freezing.min_pairs:
        raise NotEnoughData(
            f"There are {len(evidence.pairs)} comparisons and {freezing.min_pairs} are needed: "
            "collect preferences, corrections, or ratings of several responses to one prompt; or "
            "lower --min-pairs."
        )


def store_snapshot(store: ArtifactStore, lines: Iterable[Line]) -> tuple[str, str]:
    """Store the lines as the file of a dataset; its URI and its hash.

    Raises:
        ArtifactError: the store's folder cannot be written.
    """
    with store.workspace() as folder:
        path = folder / "snapshot.jsonl"
        write_lines(path, in_order(lines))
        return store.put_file(path), file_sha256(path)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a JSON Lines file."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
