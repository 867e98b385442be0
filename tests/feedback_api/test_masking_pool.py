"""The masking processes: whatever happens to them, the caller gets a result or an error."""

import asyncio
import io
import signal
from collections import Counter

import pytest
from pydantic_core import from_json, to_json

from services.feedback_api.masking import pool as masking
from services.feedback_api.masking.pool import MaskingPool
from services.feedback_api.masking.worker import SIZE, serve
from shared.errors import MaskingUnavailable, Overloaded

RAW = "Call Dr. Whitfield on (617) 555-0199."
MASKED = "Call Dr. [NAME] on [PHONE]."
SILENT = "import sys, time; sys.stdin.buffer.read(1); time.sleep(60)"
READY = (
    "import sys; b = b'{\"ready\":true}'; sys.stdout.buffer.write(len(b).to_bytes(4,'big') + b);"
)


def make_pool(failures: Counter[str], *, script: str | None = None, **given) -> MaskingPool:
    command = masking.WORKER if script is None else ("-c", script)
    settings = {"processes": 1, "budget_s": 60, "max_pending": 1000} | given
    return MaskingPool(on_failure=lambda why: failures.update([why]), command=command, **settings)


async def test_rows_are_masked_in_another_process():
    async with make_pool(Counter()).running() as pool:
        results = await asyncio.gather(*(pool.mask({"comments": RAW}) for _ in range(200)))

    assert [result["changed"] for result in results] == [{"comments": MASKED}] * 200


async def test_a_killed_process_is_replaced():
    failures: Counter[str] = Counter()
    async with make_pool(failures).running() as pool:
        await pool.mask({"comments": RAW})
        process = next(iter(pool.processes))
        process.kill()
        await process.wait()

        result = await pool.mask({"comments": RAW})

    assert result["changed"] == {"comments": MASKED}
    assert failures == {"process": 1}


async def test_rows_whose_process_is_killed_meanwhile_are_masked_by_the_next():
    async with make_pool(Counter()).running() as pool:
        await pool.mask({"comments": RAW})
        process = next(iter(pool.processes))
        process.send_signal(signal.SIGSTOP)  # so that it has the row and does not reply
        waiting = asyncio.create_task(pool.mask({"comments": RAW}))
        await asyncio.sleep(0.1)
        process.kill()

        result = await waiting

    assert result["changed"] == {"comments": MASKED}


@pytest.mark.parametrize(
    "script",
    ["raise SystemExit(3)", "print('not a frame')", READY + "sys.stdout.flush()", "no python"],
    ids=["exits", "says something else", "ends after it was ready", "does not load"],
)
async def test_without_a_working_process_rows_are_refused(script):
    async with make_pool(Counter(), script=script).running() as pool:
        with pytest.raises(MaskingUnavailable) as refused:
            await pool.mask({"comments": RAW})

    assert refused.value.retry_after_s


async def test_a_process_that_takes_too_long_is_killed_and_its_row_refused():
    failures: Counter[str] = Counter()
    script = f"{READY} sys.stdout.flush(); {SILENT}"
    async with make_pool(failures, script=script, budget_s=0.2).running() as pool:
        with pytest.raises(MaskingUnavailable):
            await pool.mask({"comments": RAW})

    assert failures["timeout"] + failures["process"] >= 1


async def test_a_full_list_refuses_at_once():
    async with make_pool(Counter(), script=SILENT, max_pending=3).running() as pool:
        waiting = [asyncio.create_task(pool.mask({"comments": RAW})) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await pool.mask({"comments": RAW})

    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {MaskingUnavailable}


async def test_a_row_that_fails_is_refused_alone_and_says_nothing_of_its_text(capsys):
    failures: Counter[str] = Counter()
    async with make_pool(failures).running() as pool:
        bad = pool.mask({"annotations": [RAW], "comments": RAW})
        outcomes = await asyncio.gather(bad, pool.mask({"comments": RAW}), return_exceptions=True)

    written = "".join(capsys.readouterr())
    assert isinstance(outcomes[0], MaskingUnavailable)
    assert outcomes[1]["changed"] == {"comments": MASKED}
    assert failures == {"error": 1}
    assert "Whitfield" not in written + str(outcomes[0])


def test_the_process_ends_with_its_input_and_names_only_the_type_of_a_failure():
    content = to_json([{"annotations": [RAW]}, {"comments": RAW}])
    replies = io.BytesIO()

    serve(io.BytesIO(len(content).to_bytes(SIZE, "big") + content), replies)

    first, second = replies.getvalue().split(b"[{", 1)
    failed, masked = from_json(b"[{" + second)
    assert b'"ready":true' in first
    assert failed == {"failed": "AttributeError"}
    assert masked["changed"] == {"comments": MASKED}
