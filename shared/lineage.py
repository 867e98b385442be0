"""What was made from what, and what still holds something of rows that were erased.

Nothing carries a mark. A dataset holds erased rows until an erasure has rewritten its file; a
model made from it before that holds something of them for good, and so does all that is made from
the model.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Integer, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.values import ErasureKind
from shared.db.tables import DatasetRows, Erasure, Lineage, ModelAlias, ModelVersion
from shared.errors import NotFound

CHUNK = 65_536
_DATASETS = 0x6865_6564_6461_7461  # the advisory lock of who makes datasets, and who erases

# The edge of a dataset to an erasure counts until the erasure has rewritten the file; its
# `created_at` is the time of that, and `created_at` of an edge to a dataset the time of reading it.
_TAINTED = text("""
WITH RECURSIVE tainted (node, erasure_id, until) AS (
    SELECT edge.child, erasure.id,
           CASE WHEN erasure.finished_at IS NULL THEN timestamptz 'infinity'
                ELSE edge.created_at END
    FROM rlhf_erasures AS erasure
    JOIN rlhf_lineage AS edge ON edge.parent = 'erasure:' || erasure.id::text
    WHERE erasure.project_id = :project_id AND erasure.kind <> :retention
    UNION
    SELECT edge.child, tainted.erasure_id, timestamptz 'infinity'
    FROM rlhf_lineage AS edge
    JOIN tainted ON edge.parent = tainted.node AND edge.created_at <= tainted.until
)
SELECT node, erasure_id FROM tainted WHERE until = 'infinity' ORDER BY node, erasure_id
""")
_ANCESTORS = text("""
WITH RECURSIVE related (node) AS (
    SELECT parent FROM rlhf_lineage WHERE child = :node AND project_id = :project_id
    UNION
    SELECT edge.parent FROM rlhf_lineage AS edge JOIN related ON edge.child = related.node
    WHERE edge.project_id = :project_id
)
SELECT node FROM related ORDER BY node
""")
_DESCENDANTS = text("""
WITH RECURSIVE related (node) AS (
    SELECT child FROM rlhf_lineage WHERE parent = :node AND project_id = :project_id
    UNION
    SELECT edge.child FROM rlhf_lineage AS edge JOIN related ON edge.parent = related.node
    WHERE edge.project_id = :project_id
)
SELECT node FROM related ORDER BY node
""")
# A toasted bitmap is unpacked here once, and not at every `get_bit`.
_HOLDING = text("""
WITH held AS MATERIALIZED (
    SELECT dataset_id, bits || ''::bytea AS bits FROM rlhf_dataset_rows WHERE chunk = :chunk
)
SELECT dataset_id, array_agg(place) AS places
FROM held CROSS JOIN unnest(:places) AS place
WHERE get_bit(bits, place) = 1 GROUP BY dataset_id
""").bindparams(bindparam("places", type_=ARRAY(Integer)))


@dataclass(frozen=True)
class Origin:
    """Where a node comes from, what came of it, and the erasures that taint it."""

    node: str
    ancestors: Sequence[str]
    descendants: Sequence[str]
    tainted_by: Sequence[uuid.UUID]

    @property
    def is_tainted(self) -> bool:
        """Whether it still holds something of erased people."""
        return bool(self.tainted_by)


@dataclass(frozen=True)
class TaintedLive:
    """An alias that means a tainted version, and the oldest erasure that taints it."""

    alias: str
    version: ModelVersion
    erasure: Erasure


def dataset_node(dataset_id: int) -> str:
    """The name of a dataset in the lineage."""
    return f"dataset:{dataset_id}"


def model_node(version_id: uuid.UUID) -> str:
    """The name of a model version in the lineage."""
    return f"model:{version_id}"


def erasure_node(erasure_id: uuid.UUID) -> str:
    """The name of an erasure in the lineage."""
    return f"erasure:{erasure_id}"


async def find_origin(session: AsyncSession, node: str, project_id: int = 1) -> Origin:
    """What the lineage says of a node.

    Raises:
        NotFound: the project's lineage does not name it.
    """
    where = {"node": node, "project_id": project_id}
    found = Origin(
        node,
        ancestors=(await session.scalars(_ANCESTORS, where)).all(),
        descendants=(await session.scalars(_DESCENDANTS, where)).all(),
        tainted_by=(await tainted(session, project_id)).get(node, ()),
    )
    if not found.ancestors and not found.descendants:
        raise NotFound(
            "The lineage does not name this node. Nodes are dataset:<number>, model:<id> and "
            "erasure:<id>; a dataset is named once a model was made from it."
        )
    return found


async def tainted(session: AsyncSession, project_id: int = 1) -> dict[str, list[uuid.UUID]]:
    """Every node that still holds something of erased people, with the erasures concerned."""
    where = {"project_id": project_id, "retention": ErasureKind.RETENTION}
    found: dict[str, list[uuid.UUID]] = defaultdict(list)
    for node, erasure_id in await session.execute(_TAINTED, where):
        found[node].append(erasure_id)
    return dict(found)


async def tainted_live(session: AsyncSession, project_id: int = 1) -> list[TaintedLive]:
    """The tainted versions that an alias means now, whatever the alias."""
    nodes = await tainted(session, project_id)
    live = await session.execute(
        select(col(ModelAlias.alias), ModelVersion)
        .join(ModelVersion, col(ModelVersion.id) == col(ModelAlias.version_id))
        .where(col(ModelAlias.project_id) == project_id)
        .order_by(col(ModelAlias.name), col(ModelAlias.alias))
    )
    found = []
    for alias, version in live:
        if concerned := nodes.get(model_node(version.id)):
            oldest = await session.get_one(Erasure, min(concerned))  # UUIDv7: by time
            found.append(TaintedLive(alias, version, oldest))
    return found


async def datasets_holding(session: AsyncSession, seqs: Iterable[int]) -> dict[int, list[int]]:
    """Which of these row versions each dataset holds, by dataset; those with none are left out."""
    found: dict[int, list[int]] = defaultdict(list)
    for chunk, places in by_chunk(seqs):
        where = {"chunk": chunk, "places": places}
        for dataset_id, held in await session.execute(_HOLDING, where):
            found[dataset_id] += [chunk * CHUNK + place for place in held]
    return {dataset_id: sorted(held) for dataset_id, held in found.items()}


async def members_of(session: AsyncSession, dataset_id: int) -> list[int]:
    """The row versions that a dataset holds, ascending."""
    chunks = select(DatasetRows).where(col(DatasetRows.dataset_id) == dataset_id)
    return [
        row.chunk * CHUNK + at * 8 + bit
        for row in await session.scalars(chunks.order_by(col(DatasetRows.chunk)))
        for at, byte in enumerate(row.bits)
        if byte
        for bit in range(8)
        if byte >> bit & 1
    ]


async def clear_members(session: AsyncSession, dataset_id: int, seqs: Iterable[int]) -> None:
    """Take these row versions out of a dataset's membership."""
    for chunk, places in by_chunk(seqs):
        row = await session.get(DatasetRows, (chunk, dataset_id), with_for_update=True)
        if row is not None:
            bits = bytearray(row.bits)
            for place in places:
                bits[place // 8] &= ~(1 << (place % 8))
            row.bits = bytes(bits)


def by_chunk(seqs: Iterable[int]) -> Iterator[tuple[int, list[int]]]:
    """The chunks that row versions lie in, each with the places of its bits."""
    chunks: dict[int, list[int]] = defaultdict(list)
    for seq in seqs:
        chunk, place = divmod(seq, CHUNK)
        chunks[chunk].append(place)
    for chunk in sorted(chunks):
        yield chunk, sorted(chunks[chunk])


async def add_edges(
    session: AsyncSession, parent: str, children: Iterable[str], *, project_id: int
) -> None:
    """Say that the children come of the parent, as of this moment; so do edges that are known."""
    rows = [
        {
            "child": child,
            "parent": parent,
            "project_id": project_id,
            "created_at": func.clock_timestamp(),
        }
        for child in sorted(children)
    ]
    if rows:
        adding = insert(Lineage).values(rows)
        await session.execute(
            adding.on_conflict_do_update(
                index_elements=["child", "parent"],
                set_={"created_at": adding.excluded.created_at},
            )
        )


async def keep_erasures_waiting(session: AsyncSession) -> None:
    """Until the commit, no erasure looks for its rows in datasets: one is being made.

    It may hold rows that an erasure removes after they were read.
    """
    await session.execute(select(func.pg_advisory_xact_lock_shared(_DATASETS)))


async def wait_for_datasets(session: AsyncSession) -> None:
    """Wait until every dataset that is being made can be seen; new ones wait for the commit."""
    await session.execute(select(func.pg_advisory_xact_lock(_DATASETS)))
