"""Held out stays held out."""

import hashlib

import pytest

from services.trainer.splits import (
    choose_moment,
    choose_sides,
    fix_sides,
    kept_aside,
    sides_by_time,
)
from shared.contracts.values import Side
from shared.errors import LeakingDataset


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


def named(*names: str) -> dict[bytes, bool]:
    return {name.encode(): True for name in names}


def test_near_duplicates_go_to_one_side_and_are_drawn_as_one():
    drawn = groups(100)
    clusters = {group: at // 4 for at, group in enumerate(drawn)}

    sides = choose_sides(drawn, {}, 0.2, clusters=clusters)

    assert len(held_out(sides)) == 20
    assert len({clusters[group] for group in held_out(sides)}) == 5


def test_a_large_cluster_is_not_held_out_where_it_would_be_most_of_the_test():
    drawn = groups(20)
    clusters = {group: max(0, at - 12) for at, group in enumerate(drawn)}

    for share in (0.05, 0.2, 0.35):
        sides = choose_sides(drawn, {}, share, clusters=clusters)
        assert 0 not in {clusters[group] for group in held_out(sides)}
        assert len(held_out(sides)) == round(20 * share)


def test_two_clusters_still_give_a_test_side():
    clusters = {b"a": 0, b"b": 0, b"c": 0, b"d": 1, b"e": 1}

    sides = choose_sides(named(*"abcde"), {}, 0.2, clusters=clusters)

    assert held_out(sides) == {b"d", b"e"}


@pytest.mark.parametrize("held_before", [0, 20])
def test_a_large_cluster_that_comes_later_is_trained_on(held_before: int):
    """It would be 60 of 160 prompts where 32 are wanted, or the whole test of twice as many."""
    known = {
        group: Side(("train", "test")[at < held_before]) for at, group in enumerate(groups(100))
    }
    template = groups(60 if held_before else 110, start=100)
    clusters = {group: at for at, group in enumerate(known)} | dict.fromkeys(template, 100)

    sides = choose_sides(dict.fromkeys(known, True) | template, known, 0.2, clusters=clusters)

    assert held_out(sides) == held_out(known)


@pytest.mark.parametrize("side", list(Side))
def test_a_new_near_duplicate_takes_the_side_of_what_is_known(side: Side):
    other = {b"x": Side.TEST if side is Side.TRAIN else Side.TRAIN}

    sides = choose_sides(
        named("known", "new", "x"),
        {b"known": side} | other,
        0.5,
        clusters={b"known": 0, b"new": 0, b"x": 1},
        proposed={b"new": other[b"x"]},
    )

    assert sides[b"new"] is side


def test_a_bridge_between_two_sides_is_trained_on_and_the_held_out_twin_kept_aside():
    clusters = {b"trained": 0, b"bridge": 0, b"judged": 0, b"else": 1}
    known = {b"trained": Side.TRAIN, b"judged": Side.TEST, b"else": Side.TEST}

    sides = choose_sides(named(*map(bytes.decode, clusters)), known, 0.2, clusters=clusters)

    assert sides == known | {b"bridge": Side.TRAIN}
    assert kept_aside(sides, clusters) == {b"judged"}


def test_a_split_by_time_holds_out_what_is_wholly_new():
    first = {b"old": "2026-01", b"straddles": "2026-01", b"new twin": "2026-05", b"new": "2026-04"}
    clusters = {b"old": 0, b"straddles": 1, b"new twin": 1, b"new": 2}

    sides = sides_by_time(first, clusters, "2026-03")

    assert held_out(sides) == {b"new"}


@pytest.mark.parametrize(("share", "expected"), [(0.01, 1), (0.3, 3), (1.0, 9)])
def test_the_newest_share_is_of_clusters(share: float, expected: int):
    first = {bytes([at]): f"2026-01-{at:02}" for at in range(1, 11)}
    clusters = {group: at for at, group in enumerate(first)}

    sides = sides_by_time(first, clusters, choose_moment(first, clusters, share))

    assert len(held_out(sides)) == expected
    assert max(first[group] for group in first if sides[group] is Side.TRAIN) < min(
        first[group] for group in held_out(sides)
    )


@pytest.mark.parametrize(
    ("days", "expected"), [("1223334444", 4), ("1111111122", 2), ("1222222222", 9), ("11111", 0)]
)
def test_clusters_of_one_moment_are_all_new_or_none(days: str, expected: int):
    """Wanted are two of ten: the nearest number above none that the moments allow."""
    first = {bytes([at]): f"2026-01-0{day}" for at, day in enumerate(days)}
    clusters = {group: at for at, group in enumerate(first)}

    sides = sides_by_time(first, clusters, choose_moment(first, clusters, 0.2))

    assert len(held_out(sides)) == expected


async def test_near_duplicates_on_both_sides_of_a_file_are_refused_and_nothing_is_stored(sessions):
    drawn = dict.fromkeys((b"1" * 32, b"2" * 32, b"3" * 32), True)
    proposed = dict(zip(drawn, (Side.TRAIN, Side.TEST, Side.TEST), strict=True))
    clusters = dict(zip(drawn, (0, 0, 1), strict=True))
    wanted = {"project_id": 1, "test_share": 0.2, "clusters": clusters, "proposed": proposed}

    with pytest.raises(LeakingDataset, match="1 of the 2 held-out prompts"):
        async with sessions.begin() as session:
            await fix_sides(session, drawn, **wanted)
    async with sessions.begin() as session:
        assert await fix_sides(session, drawn, **wanted, may_leak=True) == proposed
