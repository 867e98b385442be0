"""Work whose time is over, whose caller left or who would wait too long is not done."""

import asyncio
import gc
import time
import weakref

import pytest
from prometheus_client import CollectorRegistry

from services.reward_service.batcher import Batcher
from services.reward_service.metrics import ServingMetrics
from services.reward_service.waiting import Limits
from shared.errors import Overloaded
from tests.support.held_engine import HeldEngine, cancelled, idle, pairs, started, submit


async def test_work_whose_time_is_over_is_never_scored(batcher, engine):
    busy = submit(batcher, engine, "busy")
    await started(engine, 1)
    expires = time.monotonic() + 0.05
    late = asyncio.create_task(batcher.score(engine, pairs("late"), expires=expires))
    await asyncio.sleep(0.1)
    engine.go.set()

    with pytest.raises(Overloaded) as told:
        await late
    await busy
    await batcher.score(engine, pairs("after"))

    assert told.value.code == "deadline_exceeded"
    assert engine.batches == [["busy"], ["after"]]
    assert batcher.waiting_tokens == 0


async def test_who_would_wait_for_most_of_its_time_is_refused_at_once(batcher, engine):
    busy = submit(batcher, engine, "busy")
    await started(engine, 1)
    ahead = submit(batcher, engine, *["x" * 2000] * 4)
    await asyncio.sleep(0)

    with pytest.raises(Overloaded) as refused:
        await batcher.score(engine, pairs(*["y" * 2000] * 5), expires=time.monotonic() + 0.5)
    patient = asyncio.create_task(
        batcher.score(engine, pairs(*["y" * 2000] * 5), expires=time.monotonic() + 60)
    )
    await asyncio.sleep(0)
    engine.go.set()

    assert refused.value.code == "overloaded"
    assert len(await patient) == 5
    await asyncio.gather(busy, ahead)


async def test_short_work_with_little_time_passes_long_work_instead_of_being_refused(
    batcher, engine
):
    busy = submit(batcher, engine, "busy")
    await started(engine, 1)
    ahead = submit(batcher, engine, *["x" * 2000] * 4)
    await asyncio.sleep(0)
    short = asyncio.create_task(
        batcher.score(engine, pairs("short"), expires=time.monotonic() + 0.5)
    )
    await asyncio.sleep(0)
    engine.go.set()

    assert (await short).reward.tolist() == [5]
    await asyncio.gather(busy, ahead)


async def test_of_a_batch_that_failed_the_work_of_who_left_is_not_tried_alone(batcher, engine):
    busy = submit(batcher, engine, "busy")
    await started(engine, 1)
    held = HeldEngine()
    tasks = [submit(batcher, held, text) for text in ("poison", "leaver", "stayer")]
    await asyncio.sleep(0)
    engine.go.set()
    await busy
    await started(held, 1)
    await cancelled(tasks[1])
    held.go.set()

    assert (await tasks[2]).reward.tolist() == [6]
    assert isinstance((await asyncio.gather(tasks[0], return_exceptions=True))[0], ValueError)
    assert held.batches == [["poison", "leaver", "stayer"], ["poison"], ["stayer"]]


async def test_work_that_was_taken_back_holds_no_model(batcher, engine):
    other = HeldEngine()
    gone = weakref.ref(other)
    busy = submit(batcher, engine, "busy")
    await started(engine, 1)
    left = submit(batcher, other, "left")
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.wait({left})
    del other, left
    gc.collect()

    assert gone() is None
    engine.go.set()
    await busy


async def test_work_that_was_taken_back_does_not_keep_idle_threads_from_sharing(engine):
    batcher = Batcher(Limits(workers=2), ServingMetrics(CollectorRegistry()))
    busy = [submit(batcher, engine, "busy") for _ in range(2)]
    await started(engine, 2)
    left = submit(batcher, engine, "left")
    await asyncio.sleep(0)
    await cancelled(left)
    engine.go.set()
    await asyncio.gather(*busy)
    await idle(batcher, 2)

    await batcher.score(engine, pairs(*["x" * 400] * 10))

    assert [len(batch) for batch in engine.batches[2:]] == [5, 5]
    await asyncio.to_thread(batcher.close)
