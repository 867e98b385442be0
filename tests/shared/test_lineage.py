"""Taint: what still holds something of erased people, and from when on it does not."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from sqlmodel import col

from shared.db.tables import DatasetRows, Erasure, Lineage
from shared.errors import NotFound
from shared.ids import new_id
from shared.lineage import (
    CHUNK,
    add_edges,
    by_chunk,
    clear_members,
    datasets_holding,
    find_origin,
    tainted,
)

EARLY, LATE = (datetime.now(UTC) - timedelta(days=days) for days in (3, 1))


@pytest.fixture
def add(sessions):
    async def add_rows(*rows):
        async with sessions.begin() as session:
            session.add_all(rows)

    return add_rows


@pytest.fixture
def erased(add):
    """An erasure that rewrote dataset 1 in between EARLY and LATE, or has not yet."""

    async def make(*, is_finished=True, kind="rater", dataset="dataset:1"):
        erasure = Erasure(id=new_id(), kind=kind, person="r_a", seqs=[])
        middle = EARLY + (LATE - EARLY) / 2
        erasure.finished_at = middle if is_finished else None
        await add(
            erasure,
            Lineage(child=dataset, parent=f"erasure:{erasure.id}", created_at=middle),
        )
        return erasure.id

    return make


def edge(child, parent, created_at=EARLY, project_id=1):
    return Lineage(child=child, parent=parent, created_at=created_at, project_id=project_id)


async def nodes(sessions, project_id=1):
    async with sessions() as session:
        return await tainted(session, project_id)


async def test_a_model_made_before_the_dataset_was_rewritten_is_tainted_and_one_made_later_is_not(
    sessions, add, erased
):
    erasure_id = await erased()
    await add(edge("model:old", "dataset:1", EARLY), edge("model:new", "dataset:1", LATE))

    assert await nodes(sessions) == {"model:old": [erasure_id]}


async def test_all_that_is_made_from_a_tainted_model_is_tainted_whenever_it_was_made(
    sessions, add, erased
):
    await erased()
    await add(
        edge("model:reward", "dataset:1", EARLY),
        edge("model:policy", "model:reward", LATE),
        edge("rollout:1", "model:policy", LATE),
        edge("model:other", "dataset:2", EARLY),
    )

    assert set(await nodes(sessions)) == {"model:reward", "model:policy", "rollout:1"}


async def test_until_the_file_is_rewritten_the_dataset_and_new_models_are_tainted_too(
    sessions, add, erased
):
    await erased(is_finished=False)
    await add(edge("model:new", "dataset:1", LATE))

    assert set(await nodes(sessions)) == {"dataset:1", "model:new"}


async def test_each_erasure_taints_for_itself(sessions, add, erased):
    first, second = await erased(), await erased(is_finished=False)
    await add(edge("model:old", "dataset:1", EARLY), edge("model:new", "dataset:1", LATE))

    found = await nodes(sessions)

    assert {node: set(ids) for node, ids in found.items()} == {
        "dataset:1": {second},
        "model:old": {first, second},
        "model:new": {second},
    }


async def test_what_retention_erased_taints_nothing(sessions, add, erased):
    await erased(kind="retention")
    await add(edge("model:old", "dataset:1", EARLY))

    assert await nodes(sessions) == {}


async def test_another_project_knows_nothing_of_it(sessions, add, erased):
    await erased()
    await add(edge("model:old", "dataset:1", EARLY))

    assert await nodes(sessions, project_id=2) == {}


async def test_an_origin_names_both_sides_and_a_circle_ends(sessions, add, erased):
    erasure_id = await erased()
    await add(edge("model:a", "dataset:1"), edge("model:b", "model:a"), edge("model:a", "model:b"))

    async with sessions() as session:
        origin = await find_origin(session, "model:a")
        with pytest.raises(NotFound):
            await find_origin(session, "model:unknown")

    assert origin.ancestors == ["dataset:1", f"erasure:{erasure_id}", "model:a", "model:b"]
    assert origin.descendants == ["model:a", "model:b"]
    assert origin.tainted_by == [erasure_id]


async def test_an_edge_that_is_known_becomes_as_of_now(sessions, add):
    await add(edge("dataset:1", "erasure:x"))

    async with sessions.begin() as session:
        await add_edges(session, "erasure:x", ["dataset:1", "dataset:2"], project_id=1)

    async with sessions() as session:
        moments = await session.scalars(select(col(Lineage.created_at)))
        assert all(moment > LATE for moment in moments)


async def test_members_are_found_and_cleared_bit_by_bit(sessions, add):
    bits = bytearray(CHUNK // 8)
    bits[1], bits[-1] = 0b0000_0110, 0b1000_0000
    await add(
        DatasetRows(chunk=0, dataset_id=1, bits=bytes(bits)),
        DatasetRows(chunk=2, dataset_id=1, bits=bytes(bits)),
        DatasetRows(chunk=0, dataset_id=2, bits=bytes(CHUNK // 8)),
    )
    seqs = [8, 9, 10, CHUNK - 1, CHUNK, 2 * CHUNK + 9]

    async with sessions.begin() as session:
        held = await datasets_holding(session, seqs)
        await clear_members(session, 1, [9, 2 * CHUNK + 9])

    assert held == {1: [9, 10, CHUNK - 1, 2 * CHUNK + 9]}
    async with sessions() as session:
        assert await datasets_holding(session, seqs) == {1: [10, CHUNK - 1]}


def test_row_numbers_are_grouped_by_chunk():
    assert list(by_chunk([CHUNK, 1, 0, 3 * CHUNK + 2])) == [(0, [0, 1]), (1, [0]), (3, [2])]
