"""Which stored posts the lines of a preferences file were made of, so that an erasure finds them.

A file that Heed wrote names the rows of each line. What is trained on from such a file lies in
Heed's own store again, and has to leave it when one of those rows does.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import any_, literal, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.trainer.datasets import Evidence
from services.trainer.examples import PreferencePair
from shared.db.tables import Feedback, FeedbackHistory, Preference, PreferenceHistory

_PORTION = 5000
_TABLES: tuple[Any, ...] = (Feedback, FeedbackHistory, Preference, PreferenceHistory)


def named_rows(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """The ids of posts that a line's metadata names; none if it names anything else."""
    named = metadata.get("row_ids")
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        return ()
    try:
        return tuple(str(UUID(one)) for one in named)
    except ValueError:
        return ()


async def follow_rows(session: AsyncSession, evidence: Evidence, project_id: int) -> int:
    """Count the posts that the pairs of a file name as members; how many pairs were left out.

    Where some posts are the project's, the file is Heed's own: a pair of which a post is not there
    any more is left out, since it was erased or has expired. A file of which no post is known here
    comes from elsewhere and stays as it is.
    """
    named = {row for pair in evidence.pairs for row in pair.row_ids[1:]}
    known = await _seqs(session, sorted(named), project_id)
    kept = [
        replace(pair, row_ids=pair.row_ids[1:] if known and pair.row_ids[1:] else pair.row_ids[:1])
        for pair in evidence.pairs
        if not known or all(row in known for row in pair.row_ids[1:])
    ]
    left_out = len(evidence.pairs) - len(kept)
    evidence.pairs[:] = kept
    evidence.seqs.update(known[row] for row in _rows(kept) if row in known)
    return left_out


def _rows(pairs: Iterable[PreferencePair]) -> set[str]:
    return {row for pair in pairs for row in pair.row_ids}


async def _seqs(session: AsyncSession, ids: list[str], project_id: int) -> dict[str, int]:
    """The number of each row version of the project among these ids."""
    found: dict[str, int] = {}
    for start in range(0, len(ids), _PORTION):
        portion = [UUID(one) for one in ids[start : start + _PORTION]]
        wanted = literal(portion, postgresql.ARRAY(postgresql.UUID))
        for table in _TABLES:
            rows = await session.execute(
                select(col(table.id), col(table.seq)).where(
                    col(table.project_id) == project_id, col(table.id) == any_(wanted)
                )
            )
            found |= {str(row_id): seq for row_id, seq in rows}
    return found
