"""Which prompts are held out: a side per prompt group, fixed on first sight for good.

A group is a keyed hash of the normalised prompt, so the table tells nobody what was asked. The
hash is random to anyone without the key; holding out the smallest hashes is therefore a fair draw
that comes out the same on every machine of the deployment.
"""

import unicodedata
from collections.abc import Callable, Iterable, Mapping

from sqlalchemy import any_, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.values import Side
from shared.db.tables import PromptGroup
from shared.privacy import mac

GroupOf = Callable[[str], bytes]


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
    groups: Mapping[bytes, bool], known: Mapping[bytes, Side], test_share: float
) -> dict[bytes, Side]:
    """The side of every group: the known one, else so that about `test_share` is held out.

    Args:
        groups: every group of a snapshot, and whether it has comparisons. Those with and those
            without are split apart, so that a small snapshot can still be judged on pairs.
        known: sides that are fixed already; they never change.
        test_share: share to hold out, 0–1; at least one group of two or more.
    """
    sides = {group: known[group] for group in groups if group in known}
    for has_pairs in (True, False):
        stratum = [group for group, paired in groups.items() if paired is has_pairs]
        held_out = sum(sides.get(group) is Side.TEST for group in stratum)
        new = sorted(group for group in stratum if group not in sides)
        wanted = round(test_share * len(stratum)) or int(len(stratum) > 1)
        chosen = set(new[: max(0, wanted - held_out)])
        sides |= {group: Side.TEST if group in chosen else Side.TRAIN for group in new}
    return sides


async def fix_sides(
    session: AsyncSession,
    groups: Mapping[bytes, bool],
    *,
    project_id: int,
    test_share: float,
    proposed: Mapping[bytes, Side] | None = None,
) -> dict[bytes, Side]:
    """The side of every group of a snapshot, stored from now on.

    `proposed` sides, such as those a person's own file names, hold for groups not seen before.
    """
    await session.execute(
        select(func.pg_advisory_xact_lock(func.hashtextextended(f"prompt-groups:{project_id}", 0)))
    )
    known = await _known_sides(session, groups, project_id)
    sides = choose_sides(groups, {**(proposed or {}), **known}, test_share)
    new = [
        {"project_id": project_id, "group_hash": group, "side": side}
        for group, side in sides.items()
        if group not in known
    ]
    if new:
        await session.execute(insert(PromptGroup), new)
    return sides


async def _known_sides(
    session: AsyncSession, groups: Iterable[bytes], project_id: int
) -> dict[bytes, Side]:
    wanted = literal(list(groups), ARRAY(BYTEA))
    rows = await session.execute(
        select(col(PromptGroup.group_hash), col(PromptGroup.side)).where(
            col(PromptGroup.project_id) == project_id,
            col(PromptGroup.group_hash) == any_(wanted),
        )
    )
    return {group: Side(side) for group, side in rows}
