"""What is tried again, how often, and that it is stored once."""

import pytest

from heed_client import AsyncHeed, Heed, HeedProblem, HeedUnreachable
from heed_client.replies import retry_after_s
from heed_client.retrying import Retries

EXCHANGE = {"prompt": "Why is it warm?", "response": "Gases."}
STORED = b'{"id": "1", "feedback_id": "fb_1", "state": "live"}'


def test_a_lost_reply_is_asked_for_again_and_the_post_stored_once(door, client, token, clock):
    with Heed(door.url, api_key=token, clock=clock) as through:
        door.replies_to_lose = 2
        stored = through.feedback.stars(4, **EXCHANGE)

    assert door.connections == 3
    assert [row.feedback_id for row in client.feedback.list()] == [stored.feedback_id]
    assert client.feedback.get(stored.feedback_id).history == []


async def test_the_async_client_does_the_same(door, url, token, clock):
    async with (
        AsyncHeed(door.url, api_key=token, clock=clock) as through,
        AsyncHeed(url, api_key=token) as direct,
    ):
        door.replies_to_lose = 2
        stored = await through.feedback.stars(4, **EXCHANGE)

        assert [r.feedback_id async for r in direct.feedback.list()] == [stored.feedback_id]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_passing_refusal_is_tried_again_with_the_same_key(scripted, clock, status):
    server = scripted((status, {}, b""), (status, {}, b""), (201, {}, STORED))

    with Heed(server.url, api_key="key", clock=clock) as client:
        assert client.feedback.thumbs("up", **EXCHANGE).id == "1"

    assert len(server.keys) == 3
    assert len(set(server.keys)) == 1


def test_each_call_has_a_key_of_its_own(scripted):
    server = scripted((201, {}, STORED))

    with Heed(server.url, api_key="key") as client:
        client.feedback.thumbs("up", **EXCHANGE)
        client.feedback.thumbs("up", **EXCHANGE)

    assert len(set(server.keys)) == 2


def test_retry_after_is_waited_for(scripted, clock):
    server = scripted((429, {"Retry-After": "7"}, b""), (201, {}, STORED))

    with Heed(server.url, api_key="key", clock=clock) as client:
        client.feedback.thumbs("up", **EXCHANGE)

    assert 7 <= clock.gone_s <= 8


def test_a_wait_beyond_the_deadline_is_not_begun(scripted, clock):
    server = scripted((503, {"Retry-After": "60"}, b""))

    with (
        Heed(server.url, api_key="key", clock=clock) as client,
        pytest.raises(HeedProblem) as refused,
    ):
        client.feedback.thumbs("up", **EXCHANGE)

    assert (len(server.keys), clock.gone_s) == (1, 0)
    assert (refused.value.code, refused.value.retry_after_s) == ("http_503", 60)


@pytest.mark.parametrize("status", [400, 401, 403, 409, 413, 422, 500])
def test_any_other_refusal_is_told_at_once(scripted, clock, status):
    server = scripted((status, {}, b"<html>no problem+json</html>"))

    with Heed(server.url, api_key="key", clock=clock) as client, pytest.raises(HeedProblem):
        client.feedback.thumbs("up", **EXCHANGE)

    assert len(server.keys) == 1


def test_a_service_that_is_away_is_told_after_the_deadline(clock):
    with (
        Heed("http://127.0.0.1:9", api_key="key", deadline_s=20, clock=clock) as client,
        pytest.raises(HeedUnreachable, match="ConnectError"),
    ):
        client.feedback.thumbs("up", **EXCHANGE)

    assert 10 < clock.gone_s <= 20


def test_a_page_that_is_not_of_this_api_is_a_problem(scripted):
    server = scripted((200, {}, b"<html>Welcome</html>"))

    with Heed(server.url, api_key="key") as client, pytest.raises(HeedProblem) as refused:
        client.feedback.thumbs("up", **EXCHANGE)

    assert refused.value.code == "unexpected_reply"


def test_a_pause_is_drawn_from_zero_to_a_cap_that_doubles():
    retries = Retries(first_s=1, most_s=5)
    longest = [max(retries.pause_s(failures) for _ in range(2000)) for failures in range(5)]
    shortest = [min(retries.pause_s(failures) for _ in range(2000)) for failures in range(5)]

    assert longest == [pytest.approx(cap, rel=0.05) for cap in (1, 2, 4, 5, 5)]
    assert max(shortest) < 0.1


def test_retry_after_may_be_a_date_or_nonsense():
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after_s("Wed, 21 Oct 2099 07:28:00 GMT") == retry_after_s("inf") == 3600
    assert retry_after_s("soon") is retry_after_s("nan") is None
