"""Who said something of what, and when: all that guards against crowding look at."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from itertools import chain

from services.trainer.datasets import Evidence
from services.trainer.examples import RankedResponses, Said, TiedPair


@dataclass(frozen=True)
class Post:
    """One judgement of a known rater at a known time.

    Attributes:
        target: a digest of what was judged, for telling the same from another.
        agent: whose response it was, where known.
        at: seconds since 1970.
    """

    row_id: str
    rater: str
    target: bytes
    agent: str | None
    at: float


def collect_posts(evidence: Evidence) -> list[Post]:
    """Every judgement whose rater and time are known, oldest first."""
    posts = (
        Post(row_id, one.rater, _digest(one.prompt, *texts), one.slices.get("agent"), _seconds(at))
        for one, row_id, texts in _said(evidence)
        if one.rater is not None and (at := one.at) is not None
    )
    return sorted(posts, key=lambda post: (post.at, post.row_id))


def _said(evidence: Evidence) -> Iterator[tuple[Said, str, tuple[str, ...]]]:
    for pair in evidence.pairs:
        if pair.source in ("preference", "correction") and pair.row_ids:
            yield pair, pair.row_ids[0], tuple(sorted((pair.chosen, pair.rejected)))
    for rated in evidence.rated:
        yield rated, rated.row_id, (rated.response,)
    several: chain[TiedPair | RankedResponses] = chain(evidence.ties, evidence.rankings)
    for one in several:
        yield one, one.row_id, tuple(sorted(one.responses))


def _digest(*texts: str) -> bytes:
    return blake2b("\0".join(texts).encode(), digest_size=16).digest()


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
