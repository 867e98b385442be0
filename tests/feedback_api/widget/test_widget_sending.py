"""Waiting, retrying, renewing tokens and being refused, in a real Chromium."""

import json
from typing import Any

import pytest

from shared.db.tables import Feedback, FeedbackHistory
from tests.support.pages import TEXTS, open_page, saved

playwright_api = pytest.importorskip("playwright.async_api", reason="NO BROWSER: no playwright")
expect = playwright_api.expect
KINDS_OF_COMMENT = json.dumps(TEXTS | {"kinds": ["comment"]})


async def test_a_click_while_the_response_streams_is_sent_when_it_is_complete(mount, rows, page):
    element = await mount(attributes={"streaming": ""})

    await element.get_by_role("button", name="Good response").click()
    await expect(element).to_have_attribute("state", "queued")
    assert await page.evaluate("() => window.reasons") == []
    await element.evaluate("(element) => element.removeAttribute('streaming')")

    await saved(element)
    assert [row.thumbs for row in await rows(Feedback)] == ["up"]


async def test_a_click_waits_for_the_token_when_there_is_no_source(mount, rows, client, hosts):
    element = await mount(source=None)
    body = TEXTS | {"kinds": ["thumbs"], "origin": hosts["allowed"][1]}
    made = (await client.post("/widget-tokens", json=body)).json()

    await element.get_by_role("button", name="Good response").click()
    await expect(element).to_have_attribute("state", "queued")
    await element.evaluate("(element, token) => { element.token = token; }", made["token"])

    await saved(element)
    assert len(await rows(Feedback)) == 1


async def test_an_expired_token_is_replaced_once_and_nothing_is_lost(mount, rows, page, host):
    host.expired = 1
    element = await mount()

    await element.get_by_role("button", name="Good response").click()

    await saved(element)
    assert await page.evaluate("() => window.reasons") == ["first", "expired"]
    assert len(await rows(Feedback)) == 1


async def test_a_token_that_stays_expired_is_asked_for_no_third_time(mount, page, host):
    host.expired = 9
    element = await mount()

    await element.get_by_role("button", name="Good response").click()

    await expect(element.get_by_role("status")).to_have_text("Not saved, please reload the page")
    assert await page.evaluate("() => window.reasons") == ["first", "expired"]
    ((name, detail),) = await page.evaluate("() => window.events")
    assert (name, detail["code"], detail["status"]) == ("heed-error", "token_expired", 401)


async def test_a_lost_reply_is_asked_for_again_under_the_same_key(mount, rows, page):
    element = await mount()
    keys = []

    async def lose_the_first_reply(route: Any) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) == 1:
            await route.fetch()
            await route.abort()
        else:
            await route.continue_()

    await page.route("**/feedback", lose_the_first_reply)
    await element.get_by_role("button", name="Good response").click()

    await saved(element)
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert len(await rows(Feedback)) == 1
    assert await rows(FeedbackHistory) == []


async def test_a_server_that_is_down_is_said_and_tried_again_on_request(mount, rows, page):
    await page.clock.install()
    element = await mount()
    tried = []

    async def refuse(route: Any) -> None:
        tried.append(route.request.url)
        await route.abort()

    await page.route("**/feedback", refuse)
    await element.get_by_role("button", name="Good response").click()
    await expect(element).to_have_attribute("state", "sending")
    for _ in range(20):
        await page.clock.run_for(1_000)
    await expect(element.get_by_role("status")).to_have_text("Not saved")
    await expect(element.get_by_role("button", name="Good response", pressed=True)).to_be_visible()
    await page.unroute("**/feedback")
    await element.get_by_role("button", name="Try again").press("Enter")
    await page.clock.run_for(1_000)

    await saved(element)
    await expect(element.get_by_role("status")).to_be_focused()
    assert len(tried) == 4
    assert [row.thumbs for row in await rows(Feedback)] == ["up"]


async def test_a_page_that_clicks_too_fast_waits_and_then_goes_on(mount, rows, page):
    element = await mount()
    statuses = []
    page.on("response", lambda reply: statuses.append(reply.status))

    await element.evaluate(
        """async (element) => {
          const [up, down] = element.shadowRoot.querySelectorAll("[aria-pressed]");
          for (let turn = 0; turn < 7; turn++) {
            const stored = new Promise((done) => element.addEventListener("heed-submitted", done));
            (turn % 2 ? up : down).click();
            await stored;
          }
        }"""
    )

    assert 429 in statuses
    assert [row.thumbs for row in await rows(Feedback)] == ["down"]


async def test_a_refusal_is_said_and_not_repeated(mount, rows, page):
    element = await mount(source=TEXTS | {"rater_id": 8})
    await page.route("**/token", lambda route: route.continue_(post_data=KINDS_OF_COMMENT))

    await element.get_by_role("button", name="Good response").click()

    await expect(element).to_have_attribute("state", "failed")
    ((name, detail),) = await page.evaluate("() => window.events")
    assert (name, detail["code"], detail["status"]) == ("heed-error", "kind_not_allowed", 403)
    assert await rows(Feedback) == []


async def test_pages_of_other_origins_get_nothing_stored(page, mount, rows, hosts, faults):
    await page.clock.install()
    await open_page(page, hosts["denied"][1])
    element = await mount()

    await element.get_by_role("button", name="Good response").click()
    for _ in range(20):
        await page.clock.run_for(1_000)

    await playwright_api.expect(element).to_have_attribute("state", "failed")
    assert await rows(Feedback) == []
    assert "blocked by CORS policy: Response to preflight request" in faults[0]
    faults.clear()


async def test_the_widget_may_be_loaded_from_heed_itself(page, mount, rows, hosts):
    await open_page(page, hosts["remote"][1])
    element = await mount()

    await element.get_by_role("button", name="Good response").click()

    await saved(element)
    assert len(await rows(Feedback)) == 1


async def test_what_was_just_said_is_sent_when_the_page_is_left(
    mount, rows, client, hosts, eventually
):
    body = TEXTS | {"kinds": ["rating"], "origin": hosts["allowed"][1]}
    made = (await client.post("/widget-tokens", json=body)).json()
    element = await mount(
        source=None, attributes={"kinds": "stars"}, properties={"token": made["token"]}
    )

    await element.get_by_role("radio", name="4 of 5 stars").check()
    await element.page.goto("about:blank")

    async def is_stored() -> bool:
        return [row.rating for row in await rows(Feedback)] == [4]

    assert await eventually(is_stored)


async def test_what_waits_to_be_tried_again_is_sent_when_the_page_is_left(
    mount, rows, page, eventually
):
    element = await mount(attributes={"kinds": "thumbs stars"})
    await page.route(
        "**/feedback",
        lambda route: route.fulfill(
            status=503,
            headers={
                "Access-Control-Allow-Origin": "*",
                "Access-Control-Expose-Headers": "Retry-After",
                "Retry-After": "20",
            },
        ),
    )
    async with page.expect_response("**/feedback"):
        await element.get_by_role("button", name="Good response").click()
    await element.get_by_role("radio", name="4 of 5 stars").check()
    await page.unroute("**/feedback")

    await page.goto("about:blank")

    async def is_stored() -> bool:
        return [(row.thumbs, row.rating) for row in await rows(Feedback)] == [("up", 4)]

    assert await eventually(is_stored)
