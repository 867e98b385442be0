"""Crowding: many newcomers at once on one agent or response, or a rater far above his own pace.

Two tests, each with a chance of at most `alpha` that anything is reported where nothing is wrong:

- *Arrivals at an agent.* Every rater's first post on the agent is an arrival. Given one of n
  arrivals, how many of the others fall into the hour after it is binomial if they come evenly over
  time, and hypergeometric if they come when people come to other agents; the larger chance counts,
  so that a busy hour of everybody is nobody's burst. Times the number of hours looked at
  (Bonferroni): a scan statistic, conditional on n. Where nearly all arrivals are at one agent,
  there is nothing to compare with, and a launch may look like a burst.
- *Counts of an hour.* Newcomers on one response, or posts of one rater, are compared on a log
  scale with other responses, or with the rater's other hours, by median and median deviation,
  which the burst itself hardly moves. The tail is that of the normal distribution of logs (so of
  log-normal counts), times the number of hours looked at.

Sources: Wallenstein & Neff 1987, "An approximation for the distribution of the scan statistic" (the
scan; the union bound used here is larger); Rousseeuw & Croux 1993 (median deviation).
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, hypergeom, norm

from services.trainer.raters.posts import Post

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

ALPHA = 0.01
WINDOW_S = 3600.0
NEW_FOR_S = 7 * 24 * 3600.0
FEWEST_POSTS = 8

_NORMAL = 1.4826  # standard deviation over median deviation of a normal distribution
# arrivals elsewhere, as a number and as a share of all, that tell when people come
_ENOUGH_OTHERS, _ENOUGH_SHARE = 20, 0.1
# counts differ by more than their median deviation says where most of them are 1
_LEAST_SPREAD = 0.5
_BORROWED_HOURS = 3.0  # a rater's median counts as much as so many hours of everybody's


@dataclass(frozen=True)
class Burst:
    """More in a short time than chance explains.

    Attributes:
        kind: newcomers on one agent or on one response, or one rater's posts.
        name: the agent, or the rater's pseudonym; empty for a response, which its rows tell.
        starts: when, ISO 8601 in UTC.
        posts: how many posts it holds; of newcomers on an agent, all of theirs there in the hour
            after each came.
        expected: how many raters there would be by the test's reference, or posts of one rater.
        p_value: chance of such a burst anywhere in the data, 0-1.
        posts_of: how many of the posts each rater made, by pseudonym.
        row_ids: the posts.
    """

    kind: Literal["agent", "response", "rater"]
    name: str
    starts: str
    posts: int
    expected: float
    p_value: float
    posts_of: Mapping[str, int]
    row_ids: tuple[str, ...]

    @property
    def raters(self) -> list[str]:
        """Pseudonyms of who posted, in order."""
        return sorted(self.posts_of)

    @property
    def size(self) -> int:
        """What was held against `expected`: raters, or posts of one rater."""
        return self.posts if self.kind == "rater" else len(self.posts_of)


def find_bursts(posts: Sequence[Post], *, alpha: float = ALPHA) -> list[Burst]:
    """Every burst among posts in their order of time, the most surprising first."""
    tests = (_on_agents, _on_responses, _of_raters)
    found = [burst for test in tests for burst in test(posts, alpha / len(tests))]
    return sorted(found, key=lambda burst: burst.p_value)


def _on_agents(posts: Sequence[Post], alpha: float) -> Iterator[Burst]:
    arrivals: dict[str, dict[str, Post]] = defaultdict(dict)
    first_hours: dict[tuple[str, str], list[Post]] = defaultdict(list)
    for post in posts:
        if post.agent is not None:
            first = arrivals[post.agent].setdefault(post.rater, post)
            if post.at - first.at <= WINDOW_S:
                first_hours[post.agent, post.rater].append(post)
    looked_at = sum(map(len, arrivals.values()))
    everyone = np.sort([post.at for theirs in arrivals.values() for post in theirs.values()])
    for agent, theirs in arrivals.items():
        times = np.array([post.at for post in theirs.values()])
        chance, count, expected = _scan(times, everyone)
        is_burst = (chance * looked_at <= alpha) & (count >= FEWEST_POSTS)
        for at in _apart(times, np.flatnonzero(is_burst), chance):
            crowd = [who for who, came in zip(theirs, times - times[at], strict=True)
                     if 0 <= came <= WINDOW_S]  # fmt: skip
            inside = [post for who in crowd for post in first_hours[agent, who]]
            yield _burst("agent", agent, inside, float(expected[at]), float(chance[at]) * looked_at)


def _apart(times: Floats, windows: Indices, chance: Floats) -> list[int]:
    """Of windows that begin at some of the times the least likely ones that do not overlap."""
    found: list[int] = []
    for at in windows[np.argsort(chance[windows], kind="stable")].tolist():
        if all(abs(times[at] - times[other]) > WINDOW_S for other in found):
            found.append(at)
    return found


def _scan(times: Floats, everyone: Floats) -> tuple[Floats, Floats, Floats]:
    """For each arrival: the chance of its hour, what the hour holds, and what it should hold."""
    count = np.searchsorted(times, times + WINDOW_S, "right") - np.arange(len(times))
    of_all = np.searchsorted(everyone, times + WINDOW_S, "right")
    of_all = of_all - np.searchsorted(everyone, times, "left")
    total, others = len(everyone), len(everyone) - len(times)
    share = min(1.0, WINDOW_S / max(everyone[-1] - everyone[0], WINDOW_S))
    chance = binom.sf(count - 2, len(times) - 1, share)
    expected = np.full(len(times), 1 + (len(times) - 1) * share)
    if others >= max(_ENOUGH_OTHERS, _ENOUGH_SHARE * total):
        alike = hypergeom.sf(count - 2, total - 1, len(times) - 1, of_all - 1)
        chance = np.maximum(chance, alike)
        expected = np.maximum(expected, 1 + (of_all - count) * len(times) / others)
    return np.asarray(chance), count.astype(np.float64), expected


def _on_responses(posts: Sequence[Post], alpha: float) -> Iterator[Burst]:
    joined: dict[str, float] = {}
    hours: dict[tuple[bytes, int], list[Post]] = defaultdict(list)
    for post in posts:
        if post.at - joined.setdefault(post.rater, post.at) <= NEW_FOR_S:
            hours[post.target, int(post.at // WINDOW_S)].append(post)
    logs = np.log([len({post.rater for post in inside}) for inside in hours.values()])
    centre, spread = _middle(logs)
    p_values = norm.sf((logs - centre) / spread) * len(logs)
    for inside, p_value in zip(hours.values(), p_values.tolist(), strict=True):
        if p_value <= alpha and len({post.rater for post in inside}) >= FEWEST_POSTS:
            yield _burst("response", "", inside, float(np.exp(centre)), p_value)


def _of_raters(posts: Sequence[Post], alpha: float) -> Iterator[Burst]:
    hours: dict[str, dict[int, list[Post]]] = defaultdict(lambda: defaultdict(list))
    for post in posts:
        hours[post.rater][int(post.at // WINDOW_S)].append(post)
    logs = {
        rater: np.log([len(inside) for inside in theirs.values()])
        for rater, theirs in hours.items()
    }
    if not logs:
        return
    everyone = np.concatenate(list(logs.values()))
    centre, spread = _middle(everyone)
    for rater, theirs in hours.items():
        own = logs[rater]
        usual = (np.median(own) * len(own) + centre * _BORROWED_HOURS) / (
            len(own) + _BORROWED_HOURS
        )
        p_values = norm.sf((own - max(usual, centre)) / spread) * len(everyone)
        for inside, p_value in zip(theirs.values(), p_values.tolist(), strict=True):
            if p_value <= alpha and len(inside) >= FEWEST_POSTS:
                yield _burst("rater", rater, inside, float(np.exp(usual)), p_value)


def _middle(logs: Floats) -> tuple[float, float]:
    """Median, and the standard deviation that the median deviation stands for."""
    if not len(logs):
        return 0.0, _LEAST_SPREAD
    centre = float(np.median(logs))
    return centre, max(_NORMAL * float(np.median(np.abs(logs - centre))), _LEAST_SPREAD)


def _burst(
    kind: Literal["agent", "response", "rater"],
    name: str,
    inside: Sequence[Post],
    expected: float,
    p_value: float,
) -> Burst:
    return Burst(
        kind=kind,
        name=name,
        starts=datetime.fromtimestamp(min(post.at for post in inside), UTC).isoformat(),
        posts=len(inside),
        expected=expected,
        p_value=min(p_value, 1.0),
        posts_of=dict(Counter(post.rater for post in inside)),
        row_ids=tuple(post.row_id for post in inside),
    )
