"""Where the prompt groups of a snapshot go: trained on, held out, or kept aside."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from services.trainer.clusters import (
    asked_together,
    cluster_groups,
    cluster_names,
    first_moments,
    judgements,
    renamed,
)
from services.trainer.datasets import Evidence, as_bytes, moment
from services.trainer.lines import ASIDE, Sides
from services.trainer.splits import (
    Clusters,
    choose_moment,
    fix_sides,
    kept_aside,
    known_sides,
    sides_by_time,
)
from shared.contracts.values import Side
from shared.db.columns import Json
from shared.errors import InvalidInput


@dataclass(frozen=True)
class Splitting:
    """How a snapshot is split.

    Attributes:
        test_share: share of newly seen prompt groups that is held out.
        test_after: hold out what was first spoken of after this time instead of a random share.
        test_newest: the same for about this share of the clusters.
        allow_near_duplicates: why near-duplicates may be on both sides of a file's own split.
    """

    test_share: float
    test_after: datetime | None = None
    test_newest: float | None = None
    allow_near_duplicates: str | None = None


@dataclass(frozen=True)
class Placed:
    """A snapshot's evidence under the names of its clusters, and the place of each cluster.

    Attributes:
        facts: how it was split, and what came of near-duplicates, to be kept with the dataset.
    """

    evidence: Evidence
    sides: Sides
    facts: Json


async def place(
    session: AsyncSession,
    evidence: Evidence,
    splitting: Splitting,
    *,
    project_id: int,
    proposed: Mapping[bytes, Side] | None = None,
) -> Placed:
    """The evidence in clusters, every cluster on one side; the sides of new prompts are stored.

    Raises:
        LeakingDataset: the proposed sides put near-duplicates on both sides.
        InvalidInput: a split by time is wanted of judgements without times, or of a file that
            names its own sides; or a wanted split leaves one side empty, for good.
    """
    clusters = await asyncio.to_thread(cluster_groups, evidence)
    # A file also names sides of lines that say nothing, or of whom nothing is left.
    proposed = {group: side for group, side in (proposed or {}).items() if group in clusters}
    by_time = _by_time(evidence, clusters, splitting, proposed)
    sides = await fix_sides(
        session,
        dict.fromkeys(clusters, False) | evidence.groups,
        project_id=project_id,
        test_share=splitting.test_share,
        clusters=clusters,
        proposed=by_time or proposed,
        may_leak=splitting.allow_near_duplicates is not None,
    )
    twins = kept_aside(sides, clusters)
    early = {group for group, side in by_time.items() if side is Side.TRAIN}
    aside = {group for group in early if sides[group] is Side.TEST}
    if splitting.allow_near_duplicates is None:
        aside |= twins
    placed: dict[bytes, Side | str] = {**sides, **dict.fromkeys(aside, ASIDE)}
    if by_time or proposed:
        _require_both_sides(placed, is_by_time=bool(by_time))
    names = cluster_names(clusters, placed)
    if evidence.prompts:
        asked = await _place_recorded(session, evidence, placed, splitting, project_id=project_id)
        placed |= asked
        names |= {group: group for group in asked}
        aside |= {group for group, side in asked.items() if side == ASIDE}
    facts = _facts(clusters, splitting, "time" if by_time else "file" if proposed else "draw")
    facts |= {"kept_aside": len(aside), "leaking": len(twins - aside)}
    return Placed(
        renamed(evidence, names), {names[group]: side for group, side in placed.items()}, facts
    )


async def _place_recorded(
    session: AsyncSession,
    evidence: Evidence,
    judged: Sides,
    splitting: Splitting,
    *,
    project_id: int,
) -> dict[bytes, Side | str]:
    """The places of recorded prompts: where those lie that they are near, else a draw of their own.

    What is near to both sides is kept aside. Judged prompts were placed without them, so that they
    take nothing from what is judged by.
    """
    recorded = {as_bytes(one.group): one.prompt for one in evidence.prompts}
    others = {as_bytes(one.group): one.prompt for one in judgements(evidence)}
    groups, others_groups = list(recorded), list(others)
    together = await asyncio.to_thread(
        asked_together, list(recorded.values()), list(others.values())
    )
    known = await known_sides(session, groups, project_id)
    joined, clusters = dict[bytes, Side](), dict[bytes, int]()
    aside = set[bytes]()
    for number, (places, near) in enumerate(together):
        members = [groups[place] for place in places]
        sides: set[Side | str] = {known[group] for group in members if group in known}
        sides |= {judged[others_groups[place]] for place in near}
        if sides - {Side.TRAIN} and sides - {Side.TEST}:
            aside.update(members)
        else:
            clusters |= dict.fromkeys(members, number)
            joined |= {group: Side(side) for group in members for side in sides}
    sides_of = await fix_sides(
        session,
        dict.fromkeys(clusters, False),
        project_id=project_id,
        test_share=splitting.test_share,
        clusters=clusters,
        proposed=joined,
        may_leak=True,  # none does: a cluster has one side
    )
    return {**sides_of, **dict.fromkeys(aside, ASIDE)}


def _by_time(
    evidence: Evidence,
    clusters: Clusters,
    splitting: Splitting,
    proposed: Mapping[bytes, Side] | None,
) -> dict[bytes, Side]:
    """The sides that a split by time proposes; none when there is none."""
    if splitting.test_after is None and splitting.test_newest is None:
        return {}
    if splitting.test_after is not None and splitting.test_newest is not None:
        raise InvalidInput("Give either --test-after or --test-newest, not both.")
    first = first_moments(evidence)
    if proposed or None in first.values():
        raise InvalidInput(
            "A split by time needs to know when each judgement was made, and a preferences file "
            "does not say: leave out --test-after and --test-newest."
        )
    known = {group: at for group, at in first.items() if at is not None}
    if splitting.test_after is not None:
        return sides_by_time(known, clusters, moment(splitting.test_after))
    newest = splitting.test_newest or splitting.test_share
    return sides_by_time(known, clusters, choose_moment(known, clusters, newest))


def _require_both_sides(placed: Sides, *, is_by_time: bool) -> None:
    """Pass a wanted split only if it leaves something to train on and something to judge by.

    Sides are for good: a mistyped time must not hold out everything that people will ever say of
    these prompts, nor keep them from every later test.
    """
    if Side.TRAIN not in placed.values():
        raise InvalidInput(
            "Every prompt is held out, so nothing can be trained on; choose a later --test-after "
            "or a smaller --test-newest, or take `split` out of the file."
        )
    if is_by_time and Side.TEST not in placed.values():
        raise InvalidInput(
            "No prompt that may be held out was first spoken of after that time, so nothing can "
            "be judged; choose an earlier --test-after or a larger --test-newest."
        )


def _facts(clusters: Clusters, splitting: Splitting, by: str) -> Json:
    facts: Json = {"by": by, "prompts": len(clusters)}
    facts["near_duplicates"] = len(clusters) - len(set(clusters.values()))
    if splitting.test_after is not None:
        facts["test_after"] = moment(splitting.test_after)
    if splitting.test_newest is not None:
        facts["test_newest"] = splitting.test_newest
    if splitting.allow_near_duplicates is not None:
        facts["allowed_because"] = splitting.allow_near_duplicates
    return facts
