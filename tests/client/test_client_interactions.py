"""An interaction records itself, and feedback points at it."""

import pytest

from heed_client import AsyncHeed, Heed, HeedMisuse


def test_a_block_records_prompt_response_and_steps(client):
    with client.interaction("Why is it warm?", session_id="s", agent_name="climate") as it:
        it.step("Think of gases")
        it.step("Think of light")
        it.respond("Gases hold heat back.")

    found = client.interactions.get(it.interaction_id)
    assert (found.prompt, found.response) == ("Why is it warm?", "Gases hold heat back.")
    assert (found.session_id, found.agent_name) == ("s", "climate")
    steps = client.interactions.steps(it.interaction_id).items
    assert [step.step_content for step in steps] == ["Think of gases", "Think of light"]


def test_feedback_through_a_block_points_at_it_and_at_its_step(client):
    with client.interaction("Why?") as it:
        step = it.step("Think of gases")
        it.respond("Gases.")
    whole = it.stars(4, rater_id=1)
    part = step.thumbs("down", rater_id=1)

    assert client.feedback.get(whole.feedback_id).interaction_id == it.interaction_id
    assert client.feedback.get(part.feedback_id).step_id == f"{it.interaction_id}/0"


def test_feedback_may_come_before_the_block_has_ended(client):
    with client.interaction("Why?") as it:
        early = it.thumbs("up", rater_id=1)
        it.respond("Gases.")

    assert client.feedback.get(early.feedback_id).interaction_id == it.interaction_id


def test_a_block_without_a_response_says_so(client):
    with pytest.raises(HeedMisuse, match="respond"), client.interaction("Why?") as it:
        it.step("Think")


def test_a_failure_in_a_block_stays_what_it_is_and_records_nothing(client):
    with pytest.raises(ZeroDivisionError), client.interaction("Why?", session_id="s"):
        _ = 1 / 0

    assert list(client.interactions.list(session_id="s")) == []


def test_a_service_that_is_away_does_not_hide_a_failure_in_a_block(token):
    away = Heed("http://127.0.0.1:9", api_key=token, deadline_s=0.1)

    def fail_after_responding():
        with away.interaction("Why?") as it:
            it.respond("Gases.")
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        fail_after_responding()


def test_what_comes_after_the_block_cannot_be_recorded_and_is_told(client):
    with client.interaction("Why?") as it:
        it.respond("Gases.")

    with pytest.raises(HeedMisuse, match="has ended"):
        it.step("Think")
    with pytest.raises(HeedMisuse, match="has ended"):
        it.respond("Other gases.")


def test_recording_twice_under_one_id_is_a_repetition(client):
    first = client.interactions.record("Why?", "Gases.", interaction_id="chat-1")
    again = client.interactions.record("Why?", "Gases.", interaction_id="chat-1")

    assert first == again
    assert len(list(client.interactions.list())) == 1


async def test_an_async_block_does_the_same(url, token):
    async with AsyncHeed(url, api_key=token) as client:
        async with client.interaction("Why?") as it:
            step = it.step("Think")
            it.respond({"segments": [[1, 2, 3]]})
        given = await step.thumbs("up")

        assert (await client.interactions.get(it.interaction_id)).structured_response == {
            "segments": [[1, 2, 3]]
        }
        assert (await client.feedback.get(given.feedback_id)).step_id == f"{it.interaction_id}/0"
