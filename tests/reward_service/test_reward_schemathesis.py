"""The reward service as its OpenAPI describes it."""

import asyncio

import pytest

from tests.reward_service.conftest import serving
from tests.support.fuzzing import find_faults


@pytest.mark.slow
async def test_every_reply_of_the_reward_service_is_as_described(deployment, live_kind, tmp_path):
    key = await deployment.key("score", "models")
    async with serving(deployment.settings) as url:
        faults = await asyncio.to_thread(find_faults, url, key, tmp_path, has_deadlines=True)

    assert not faults, faults
