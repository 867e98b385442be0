"""Held out stays held out."""

import hashlib

import pytest

from services.trainer.splits import choose_sides, fix_sides
from shared.contracts.values import Side


def groups(count: int, *, has_pairs: bool = True, start: int = 0) -> dict[bytes, bool]:
    names = (str(i).encode() for i in range(start, start + count))
    return {hashlib.sha256(name).digest(): has_pairs for name in names}


def held_out(sides: dict[bytes, Side]) -> set[bytes]:
    return {group for group, side in sides.items() if side is Side.TEST}


def test_about_the_wanted_share_is_held_out():
    assert len(held_out(choose_sides(groups(500), {}, 0.2))) == 100


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (1, 0), (2, 1), (4, 1), (10, 2)])
def test_a_small_dataset_still_holds_something_out(count: int, expected: int):
    assert len(held_out(choose_sides(groups(count), {}, 0.2))) == expected


def test_groups_with_comparisons_and_without_are_split_apart():
    paired, unpaired = groups(10), groups(90, has_pairs=False, start=10)
    out = held_out(choose_sides(paired | unpaired, {}, 0.2))

    assert len(out & paired.keys()) == 2
    assert len(out & unpaired.keys()) == 18


def test_a_known_side_never_changes_and_counts_towards_the_share():
    known = dict.fromkeys(groups(20), Side.TEST)
    sides = choose_sides(groups(100), known, 0.2)

    assert held_out(sides) == set(known)


async def test_a_held_out_group_stays_held_out_over_later_snapshots(sessions):
    first, later = groups(30), groups(300)
    async with sessions.begin() as session:
        before = await fix_sides(session, first, project_id=1, test_share=0.2)
    async with sessions.begin() as session:
        after = await fix_sides(session, later, project_id=1, test_share=0.5)

    assert {group: after[group] for group in first} == before
    assert len(held_out(after)) == 150


async def test_a_file_cannot_move_a_known_group_to_the_other_side(sessions):
    known = groups(5)
    async with sessions.begin() as session:
        before = await fix_sides(session, known, project_id=1, test_share=0.2)
    opposite = dict.fromkeys(known, Side.TRAIN)
    async with sessions.begin() as session:
        after = await fix_sides(session, known, project_id=1, test_share=0.2, proposed=opposite)

    assert after == before
    assert len(held_out(after)) == 1
