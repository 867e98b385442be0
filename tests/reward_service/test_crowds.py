"""More than can be done: what is accepted is done soon, and the rest hears of it early."""

import asyncio
import itertools
import time

import pytest
from prometheus_client import CollectorRegistry

from services.reward_service.batcher import Batcher
from services.reward_service.metrics import ServingMetrics
from services.reward_service.waiting import Limits
from shared.errors import Overloaded
from shared.ml.scorer import Scores
from tests.support.held_engine import HeldEngine, pairs, started, submit

TEXT = "x" * 2000  # about 500 tokens: an eighth of a second at the speed that is guessed first


async def waiting_behind_a_busy_thread(
    batcher: Batcher, engine: HeldEngine, number: int
) -> list[asyncio.Task[Scores]]:
    busy = submit(batcher, engine, "busy")
    await started(engine, 1)
    await asyncio.sleep(0.01)  # past what the thread was expected to need
    waiting = [submit(batcher, engine, TEXT) for _ in range(number)]
    await asyncio.sleep(0)
    return [busy, *waiting]


def refused(replies: list[Scores | BaseException]) -> list[bool]:
    return [isinstance(reply, Overloaded) for reply in replies]


async def test_when_the_queue_overflows_only_what_can_begin_soon_stays(batcher, engine, counts):
    tasks = await waiting_behind_a_busy_thread(batcher, engine, 9)

    overflowing = await asyncio.gather(submit(batcher, engine, TEXT), return_exceptions=True)
    early = await asyncio.gather(*tasks[5:], return_exceptions=True)
    engine.go.set()
    served = await asyncio.gather(*tasks[:5])

    assert refused(overflowing) == [True]
    assert refused(early) == [True] * 5
    assert len(served) == 5
    assert all(reply.code == "overloaded" and reply.retry_after_s >= 1 for reply in early)
    assert counts.get_sample_value("heed_reward_refused_total") == 6
    assert batcher.waiting_tokens == 0


async def test_what_to_scale_on_counts_who_was_turned_away(batcher, engine, counts):
    tasks = await waiting_behind_a_busy_thread(batcher, engine, 10)
    await asyncio.gather(*tasks[5:], return_exceptions=True)

    wanted = counts.get_sample_value("heed_reward_waiting_tokens")
    engine.go.set()
    await asyncio.gather(*tasks[:5])

    assert batcher.waiting_tokens == 0
    assert wanted == 10 * (2 + 502)


async def test_in_a_crowd_nobody_is_let_in_to_wait_long_and_a_second_later_it_is_over(
    batcher, engine
):
    tasks = await waiting_behind_a_busy_thread(batcher, engine, 10)
    await asyncio.gather(*tasks[5:], return_exceptions=True)

    late = await asyncio.gather(submit(batcher, engine, TEXT), return_exceptions=True)
    short = submit(batcher, engine, "short")
    await asyncio.sleep(1.1)
    again = [submit(batcher, engine, TEXT) for _ in range(4)]
    await asyncio.sleep(0)
    engine.go.set()

    assert refused(late) == [True]
    assert (await short).reward.tolist() == [5]
    assert len(await asyncio.gather(*tasks[:5], *again)) == 9


async def test_one_large_request_without_room_turns_nobody_away(batcher, engine):
    tasks = await waiting_behind_a_busy_thread(batcher, engine, 7)

    with pytest.raises(Overloaded):
        await batcher.score(engine, pairs(*[TEXT] * 4))
    engine.go.set()

    assert len(await asyncio.gather(*tasks)) == 8


async def test_a_queue_that_would_take_more_than_seconds_is_full_whatever_room_it_has(engine):
    roomy = Limits(workers=1, batch_tokens=1000, queue_tokens=50_000)
    batcher = Batcher(roomy, ServingMetrics(CollectorRegistry()))
    tasks = await waiting_behind_a_busy_thread(batcher, engine, 23)  # of 504 tokens at 4,000/s

    one_more = await asyncio.gather(submit(batcher, engine, TEXT), return_exceptions=True)
    early = await asyncio.gather(*tasks[5:], return_exceptions=True)
    engine.go.set()

    assert refused(one_more + early) == [True] * 20
    assert len(await asyncio.gather(*tasks[:5])) == 5
    await asyncio.to_thread(batcher.close)


async def test_a_few_clients_with_much_to_ask_are_no_crowd_on_a_slow_machine(engine):
    roomy = Limits(workers=1, batch_tokens=1000, queue_tokens=50_000)
    batcher = Batcher(roomy, ServingMetrics(CollectorRegistry()))
    tasks = await waiting_behind_a_busy_thread(batcher, engine, 0)

    large = [submit(batcher, engine, *[TEXT] * 30) for _ in range(3)]  # four seconds each
    await asyncio.sleep(0)
    engine.go.set()

    assert [len(scores) for scores in await asyncio.gather(*tasks, *large)] == [1, 30, 30, 30]
    await asyncio.to_thread(batcher.close)


async def test_one_large_request_is_let_in_where_it_can_begin_soon(engine):
    roomy = Limits(workers=1, batch_tokens=1000, queue_tokens=50_000)
    batcher = Batcher(roomy, ServingMetrics(CollectorRegistry()))
    tasks = await waiting_behind_a_busy_thread(batcher, engine, 10)

    large = submit(batcher, engine, *[TEXT] * 60)  # eight seconds
    await asyncio.sleep(0)
    engine.go.set()

    assert [len(scores) for scores in await asyncio.gather(large, *tasks)] == [60] + [1] * 11
    await asyncio.to_thread(batcher.close)


async def test_what_a_thread_holds_counts_as_waiting_too(batcher, engine):
    busy = submit(batcher, engine, TEXT, TEXT[:1900])
    await started(engine, 1)

    with pytest.raises(Overloaded) as told:
        await batcher.score(engine, pairs("hurried"), expires=time.monotonic() + 0.2)
    engine.go.set()

    assert told.value.code == "overloaded"
    assert len(await busy) == 2
    assert engine.batches == [[TEXT, TEXT[:1900]]]


async def test_texts_that_are_remembered_do_not_make_those_that_follow_look_quick(engine):
    known = itertools.count(step=502)  # as if all of a text had been read before
    batcher = Batcher(
        Limits(workers=1), ServingMetrics(CollectorRegistry()), remembered=lambda: next(known)
    )
    engine.go.set()
    for _ in range(50):
        await submit(batcher, engine, TEXT)
    engine.go.clear()
    busy = submit(batcher, engine, TEXT)
    await started(engine, 51)
    waiting = [submit(batcher, engine, TEXT) for _ in range(4)]  # half a second as first guessed
    hurried = asyncio.create_task(
        batcher.score(engine, pairs(TEXT), expires=time.monotonic() + 0.5)
    )
    await asyncio.sleep(0)
    engine.go.set()

    replies = await asyncio.gather(hurried, busy, *waiting, return_exceptions=True)
    assert refused(replies) == [True] + [False] * 5
    await asyncio.to_thread(batcher.close)
