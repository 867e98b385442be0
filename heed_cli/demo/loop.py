"""The loop itself: post, train, gate, promote, re-rank; then again while a client keeps scoring."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from heed_cli.demo.posts import Batches, Post
from heed_cli.demo.ranking import (
    Candidates,
    Probe,
    RankGain,
    held_out_candidates,
    probes,
    rank_gain,
)
from heed_cli.demo.report import Latency, Report, Round
from heed_cli.demo.rounds import Books, Trained
from heed_cli.demo.telling import GATE_MARGIN, tell_posted, tell_rerank, tell_trained
from heed_cli.demo.traffic import Traffic, keep_ranking
from heed_cli.deployment import FEEDBACK_API, REWARD_SERVICE, Deployment
from shared.db.connect import resolve_database_url
from shared.db.engine import create_engine
from shared.errors import Unavailable

_LATENCY_REQUESTS = 40
_SWAP_WITHIN_S, _POLL_S = 30.0, 0.2
_RANK_AT_ONCE = 2
Show = Callable[[str], None]


@dataclass
class Loop:
    """One run of the demo: where it asks, what it reads back, and what it found so far."""

    traffic: Traffic
    books: Books
    show: Show
    margin: float
    rounds: list[Round] = field(default_factory=list)
    candidates: list[Candidates] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)

    async def go_round(self, posts: Sequence[Post]) -> Trained:
        """Post, train, gate, and re-rank what is held out with whatever is live then."""
        began = time.perf_counter()
        acknowledged = await self._post(posts)
        post_s = time.perf_counter() - began
        stored = await self.books.stored_posts()
        tell_posted(acknowledged, len(posts), post_s, stored)
        trained = await self.books.train(lambda text: self.show(f"training: {text} …"))
        judged = _judged(trained)
        tell_trained(judged, self.margin)
        live = await self._live_after(trained)
        lines = self.books.lines(trained.dataset)
        self.candidates, self.probes = held_out_candidates(lines), probes(lines)
        self.show("re-ranking held-out prompts …")
        gain = await self._rerank()
        tell_rerank(gain, live)
        found = Round(
            sent=len(posts),
            acknowledged=acknowledged,
            stored_in_all=stored,
            post_seconds=round(post_s, 2),
            live_model=live,
            rerank=gain,
            **judged,
        )
        self.rounds.append(found)
        return trained

    async def _post(self, posts: Sequence[Post]) -> int:
        replies = 0

        def on_reply() -> None:
            nonlocal replies
            replies += 1
            self.show(f"posting: {replies} of {len(posts)} …")

        return await self.traffic.post_all(posts, on_reply)

    async def _live_after(self, trained: Trained) -> str | None:
        """The live model, once the reward service serves what the gate promoted."""
        version = trained.version
        promoted = bool((version.gate or {}).get("promotes"))
        deadline = time.monotonic() + _SWAP_WITHIN_S
        live = await self.traffic.live_version()
        while promoted and live != version.version:
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{version.name}@{version.version} was promoted but is not served: "
                    "`heed logs reward_service` says why."
                )
            await asyncio.sleep(_POLL_S)
            live = await self.traffic.live_version()
        return f"{version.name}@{live}" if live else None

    async def _rerank(self) -> RankGain | None:
        if not self.candidates:
            return None
        gate = asyncio.Semaphore(_RANK_AT_ONCE)

        async def order(one: Candidates) -> list[int]:
            async with gate:
                return (await self.traffic.rerank(one.prompt, one.responses)).order

        orders = await asyncio.gather(*map(order, self.candidates))
        return rank_gain(self.candidates, orders)

    async def latency(self) -> Latency:
        """Time of single requests with ten candidates each, nothing else going on."""
        self.show("measuring latency …")
        times = []
        for number in range(_LATENCY_REQUESTS):
            prompt, responses = self.probes[number % len(self.probes)]
            times.append((await self.traffic.rerank(prompt, responses)).ms)
        p95 = sorted(times)[round(0.95 * (len(times) - 1))]
        return Latency(len(self.probes[0][1]), len(times), round(median(times), 1), round(p95, 1))


async def run_loop(deployment: Deployment, batches: Batches, show: Show, began: float) -> Report:
    """Both rounds on a running deployment; `began` is when the demo did, in monotonic seconds.

    Raises:
        HeedError: a step failed; what was acknowledged until then stays in the database.
    """
    async with _loop(deployment, show) as loop:
        await loop.go_round(batches.first)
        latency = await loop.latency()
        async with keep_ranking(loop.traffic, loop.probes) as background:
            newest = await loop.go_round(batches.later)
        folder = loop.books.folder(newest.version)
        return Report(
            source=batches.source,
            left_out=batches.left_out,
            seconds=round(time.monotonic() - began, 1),
            gate_margin=loop.margin,
            rounds=loop.rounds,
            latency=latency,
            requests=loop.traffic.requests,
            failed_requests=loop.traffic.failed,
            background_requests=background.requests,
            background_failed=background.failed,
            background_models=[f"reward@{v}" if v else None for v in background.versions],
            card=str(folder / "card.md"),
            plots=[str(path) for path in sorted(folder.glob("*.png"))],
            data_dir=str(deployment.settings.data_dir),
        )


@asynccontextmanager
async def _loop(deployment: Deployment, show: Show) -> AsyncIterator[Loop]:
    settings = deployment.settings
    engine = create_engine(resolve_database_url(settings))
    urls = [str(deployment.url(service)) for service in (FEEDBACK_API, REWARD_SERVICE)]
    margin = float(deployment.extra[GATE_MARGIN])
    token = deployment.key_file.read_text().strip()
    try:
        async with Traffic(urls[0], urls[1], token) as traffic:
            yield Loop(traffic, Books(engine, settings.artifacts), show, margin)
    finally:
        await engine.dispose()


def _judged(trained: Trained) -> dict[str, Any]:
    """What the run and the model version say of themselves, as stored."""
    version, metrics = trained.version, trained.version.metrics
    return {
        "run_id": str(trained.run.id),
        "run_seconds": trained.run.duration_s,
        "model": f"{version.name}@{version.version}",
        "train_pairs": metrics["train_pairs"],
        "test_pairs": metrics["test_pairs"],
        "accuracy": metrics.get("pair_accuracy"),
        "accuracy_low": metrics.get("pair_accuracy_low"),
        "accuracy_high": metrics.get("pair_accuracy_high"),
        "length_accuracy": metrics.get("length_accuracy"),
        "rated_auc": metrics.get("rated_auc"),
        "gate": version.gate or {},
    }
