"""Which prompts are held out: a side per prompt group, fixed on first sight for good.

A group is a keyed hash of the normalised prompt, so the table tells nobody what was asked. The
hash is random to anyone without the key; holding out the smallest hashes is therefore a fair draw
that comes out the same on every machine of the deployment. Groups whose prompts are near-duplicates
form a cluster, and a cluster is never trained on and judged by at once: where two groups with
different sides turn out to be in one, the held-out one is kept aside (docs/decisions/0020).
"""

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256

from sqlalchemy import any_, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.values import Side
from shared.db.tables import PromptGroup
from shared.errors import LeakingDataset
from shared.privacy import mac

GroupOf = Callable[[str], bytes]
Clusters = Mapping[bytes, int]


def normalise_prompt(prompt: str) -> str:
    """The prompt without what makes no difference: width, case and white space.

    NFKC, then case folding, then every run of white space as one space.
    """
    return " ".join(unicodedata.normalize("NFKC", prompt).casefold().split())


def group_by_secret(secret: bytes, project_id: int) -> GroupOf:
    """The function that names a prompt's group, 32 bytes, for one deployment and project."""
    known: dict[str, bytes] = {}

    def group_of(prompt: str) -> bytes:
        if prompt not in known:
            parts = (str(project_id), normalise_prompt(prompt))
            known[prompt] = mac(secret, "prompt-group", *parts)
        return known[prompt]

    return group_of


def choose_sides(
    groups: Mapping[bytes, bool],
    known: Mapping[bytes, Side],
    test_share: float,
    *,
    clusters: Clusters | None = None,
    proposed: Mapping[bytes, Side] | None = None,
) -> dict[bytes, Side]:
    """The side of every group: the known one, else its cluster's, else a fair draw.

    A new group joins the side that its cluster has already; a cluster that has both is trained on.

    Args:
        groups: every group of a snapshot, and whether it has comparisons. Those with and those
            without are split apart, so that a small snapshot can still be judged on pairs.
        known: sides that are fixed already; they never change.
        test_share: share to hold out, 0–1; at least one group of two or more.
        clusters: number of each group's cluster of near-duplicates; each its own without.
        proposed: sides for clusters of which nothing is known.
    """
    sides, open_ = dict[bytes, Side](), list[list[bytes]]()
    for members in _members(groups, clusters or {}):
        settled = _settled(members, known, proposed or {})
        sides |= settled
        if not settled:
            open_.append(members)
    for has_pairs in (True, False):
        stratum = [
            them for them in _members(groups, clusters or {}) if _paired(them, groups) is has_pairs
        ]
        new = [them for them in open_ if _paired(them, groups) is has_pairs]
        sides |= _drawn(stratum, new, sides, test_share)
    return sides


def kept_aside(sides: Mapping[bytes, Side], clusters: Clusters) -> set[bytes]:
    """Groups that are held out and have a near-duplicate among those that are trained on."""
    trained = {clusters[group] for group, side in sides.items() if side is Side.TRAIN}
    return {
        group for group, side in sides.items() if side is Side.TEST and clusters[group] in trained
    }


def sides_by_time(
    first_at: Mapping[bytes, str], clusters: Clusters, after: str
) -> dict[bytes, Side]:
    """Sides for a split by time: held out are the clusters first spoken of after a moment."""
    early = {clusters[group] for group, at in first_at.items() if at <= after}
    return {group: Side.TRAIN if clusters[group] in early else Side.TEST for group in first_at}


def choose_moment(first_at: Mapping[bytes, str], clusters: Clusters, share: float) -> str:
    """The moment after which about this share of the clusters, at least one, is wholly new.

    Of clusters first spoken of at the same moment, as after an import, all are new or none; where
    all were, nothing is.
    """
    oldest: dict[int, str] = {}
    for group, at in first_at.items():
        oldest[clusters[group]] = min(oldest.get(clusters[group], at), at)
    newer: dict[str, int] = {}
    for place, at in enumerate(sorted(oldest.values(), reverse=True)):
        newer.setdefault(at, place)
    some_are_new = [at for at, count in newer.items() if count]
    wanted = share * len(oldest)
    return min(some_are_new, key=lambda at: abs(newer[at] - wanted), default=max(newer, default=""))


def both_sides(
    known: Mapping[bytes, Side], proposed: Mapping[bytes, Side], clusters: Clusters
) -> set[bytes]:
    """Groups that are proposed to be held out though a near-duplicate is to be trained on."""
    settled = {clusters[group] for group in known if group in clusters}
    free = {group: side for group, side in proposed.items() if clusters[group] not in settled}
    return kept_aside(free, clusters)


async def fix_sides(
    session: AsyncSession,
    groups: Mapping[bytes, bool],
    *,
    project_id: int,
    test_share: float,
    clusters: Clusters | None = None,
    proposed: Mapping[bytes, Side] | None = None,
    may_leak: bool = False,
) -> dict[bytes, Side]:
    """The side of every group of a snapshot, stored from now on.

    `proposed` sides, such as those a person's own file names, hold for clusters not seen before.

    Raises:
        LeakingDataset: they put near-duplicates on both sides, and `may_leak` is not given.
    """
    await session.execute(
        select(func.pg_advisory_xact_lock(func.hashtextextended(f"prompt-groups:{project_id}", 0)))
    )
    known = await known_sides(session, groups, project_id)
    together = clusters or {group: at for at, group in enumerate(groups)}
    if not may_leak:
        _refuse_leaks(known, proposed or {}, together)
    sides = choose_sides(groups, known, test_share, clusters=together, proposed=proposed)
    new = [
        {"project_id": project_id, "group_hash": group, "side": side}
        for group, side in sides.items()
        if group not in known
    ]
    if new:
        await session.execute(insert(PromptGroup), new)
    return sides


def _refuse_leaks(
    known: Mapping[bytes, Side], proposed: Mapping[bytes, Side], clusters: Clusters
) -> None:
    leaking = both_sides(known, proposed, clusters)
    if leaking:
        held_out = sum(side is Side.TEST for side in proposed.values())
        raise LeakingDataset(
            f"{len(leaking)} of the {held_out} held-out prompts are near-duplicates of prompts to "
            "train on, so a model could know them by heart. Take `split` out of the file, so that "
            "Heed keeps near-duplicates together, or allow it with --allow-near-duplicates and "
            "the reason, which is kept with the model."
        )


def _members(groups: Iterable[bytes], clusters: Clusters) -> list[list[bytes]]:
    """The groups of each cluster; a group that is in none is one by itself."""
    found: dict[int | bytes, list[bytes]] = defaultdict(list)
    for group in groups:
        found[clusters.get(group, group)].append(group)
    return list(found.values())


def _paired(members: Iterable[bytes], groups: Mapping[bytes, bool]) -> bool:
    return any(groups[group] for group in members)


def _settled(
    members: Sequence[bytes], known: Mapping[bytes, Side], proposed: Mapping[bytes, Side]
) -> dict[bytes, Side]:
    """The sides of a cluster of which something is known, or else proposed."""
    for given in (known, proposed):
        theirs = {group: given[group] for group in members if group in given}
        if theirs:
            rest = Side.TEST if set(theirs.values()) == {Side.TEST} else Side.TRAIN
            return {group: theirs.get(group, rest) for group in members}
    return {}


def _drawn(
    stratum: Sequence[Sequence[bytes]],
    new: Sequence[Sequence[bytes]],
    settled: Mapping[bytes, Side],
    test_share: float,
) -> dict[bytes, Side]:
    """Sides of new clusters, so that about `test_share` of a stratum's groups is held out."""
    groups = [group for members in stratum for group in members]
    held_out = sum(settled.get(group) is Side.TEST for group in groups)
    missing = (round(test_share * len(groups)) or int(len(groups) > 1)) - held_out
    chosen: set[bytes] = set()
    for members in sorted(new, key=_draw):
        if len(members) <= missing - len(chosen):
            chosen.update(members)
    if new and not chosen and not held_out:  # else no model could be judged
        smallest = min(sorted(new, key=_draw), key=len)
        chosen.update(smallest if 2 * len(smallest) <= len(groups) else ())
    return {
        group: Side.TEST if group in chosen else Side.TRAIN for members in new for group in members
    }


def _draw(members: Sequence[bytes]) -> bytes:
    """A number that is as random for a cluster of many groups as for one of a single group."""
    return members[0] if len(members) == 1 else sha256(b"".join(sorted(members))).digest()


async def known_sides(
    session: AsyncSession, groups: Iterable[bytes], project_id: int
) -> dict[bytes, Side]:
    """The sides of those groups that have one already."""
    wanted = literal(list(groups), ARRAY(BYTEA))
    rows = await session.execute(
        select(col(PromptGroup.group_hash), col(PromptGroup.side)).where(
            col(PromptGroup.project_id) == project_id,
            col(PromptGroup.group_hash) == any_(wanted),
        )
    )
    return {group: Side(side) for group, side in rows}
