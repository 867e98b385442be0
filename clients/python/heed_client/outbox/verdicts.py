"""What a reply means for each post that was sent: stored, refused for good, or to be sent again."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

from heed_client.errors import HeedProblem, Problem
from heed_client.outbox.records import Waiting
from heed_client.replies import read
from heed_client.results import BatchItem, BatchStored, Result

MAX_POSTS = 200
MAX_BYTES = 500_000
# The batch as a whole was refused for what is in it; one of its posts is at fault.
FOR_ITS_CONTENT = {400, 409, 413, 422}


@dataclass
class Verdicts:
    """The posts by what became of them."""

    stored: list[int] = field(default_factory=list)
    refused: list[tuple[Waiting, Problem]] = field(default_factory=list)
    later: list[Waiting] = field(default_factory=list)


class TooManyAtOnce(Exception):
    """The batch was refused because of one post in it: send fewer, to find that one."""


def is_batch(path: str) -> bool:
    """Whether several posts go there at once."""
    return path.endswith("/batch")


def next_batch(heads: Sequence[Waiting], most: int) -> list[Waiting]:
    """The posts to send next: the oldest, and others to the same path as long as they fit."""
    first = heads[0]
    if not is_batch(first.path):
        return [first]
    chosen: list[Waiting] = []
    size = 0
    for post in (head for head in heads if head.path == first.path):
        size += len(post.body) + 1
        if chosen and (size > MAX_BYTES or len(chosen) >= most):
            break
        chosen.append(post)
    return chosen


def content_of(batch: Sequence[Waiting]) -> bytes:
    """The body of the request."""
    bodies = [post.body for post in batch]
    return b"[" + b",".join(bodies) + b"]" if is_batch(batch[0].path) else bodies[0]


def judge(batch: Sequence[Waiting], reply: httpx.Response) -> Verdicts:
    """What became of each post.

    Raises:
        TooManyAtOnce: one of several posts is at fault.
        HeedProblem: the service takes nothing now; all of them stay.
    """
    try:
        if not is_batch(batch[0].path):
            read(reply, Result)
            return Verdicts(stored=[post.seq for post in batch])
        items = read(reply, BatchStored).items
        if len(items) != len(batch):
            raise HeedProblem(Problem(status=reply.status_code, code="unexpected_reply"))
    except HeedProblem as problem:
        return _refusal(batch, problem)
    verdicts = Verdicts()
    for post, item in zip(batch, items, strict=True):
        _sort(verdicts, post, item)
    return verdicts


def _refusal(batch: Sequence[Waiting], problem: HeedProblem) -> Verdicts:
    if problem.status not in FOR_ITS_CONTENT:
        raise problem
    if len(batch) > 1:
        raise TooManyAtOnce
    return Verdicts(refused=[(batch[0], problem.problem)])


def _sort(verdicts: Verdicts, post: Waiting, item: BatchItem) -> None:
    problem = item.problem or Problem(status=item.status)
    if item.status < 300:
        verdicts.stored.append(post.seq)
    elif problem.is_passing:
        verdicts.later.append(post)
    else:
        verdicts.refused.append((post, problem))
