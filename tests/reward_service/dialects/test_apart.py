"""Texts become pairs without holding up those who wait for the same event loop."""

import asyncio
import threading

from services.reward_service.dialects.asking import taken_apart
from services.reward_service.dialects.full_text import split
from shared.ml.scorer import Pair


async def test_rows_of_texts_keep_their_order():
    rows = [["a", "b"], ["c", "d"]]

    assert await taken_apart(Pair, rows) == [Pair("a", "b"), Pair("c", "d")]
    assert await taken_apart(split, [[text * 9_000] for text in "ab"]) == [
        Pair("", "a" * 9_000),
        Pair("", "b" * 9_000),
    ]


async def test_the_loop_goes_on_while_long_texts_are_taken_apart():
    goes_on = threading.Event()
    asyncio.get_running_loop().call_later(0.01, goes_on.set)

    def slow(text: str) -> Pair:
        return Pair("", text if goes_on.wait(5) else "the loop was held")

    assert await taken_apart(slow, [["a" * 20_000]]) == [Pair("", "a" * 20_000)]
