"""What people click and type reaches the database, once; in a real Chromium."""

import pytest

from shared.db.tables import Feedback, FeedbackHistory, InteractionRecord
from tests.support.pages import TEXTS, saved, stored

playwright_api = pytest.importorskip("playwright.async_api", reason="NO BROWSER: no playwright")
expect = playwright_api.expect


async def test_a_thumb_is_stored_and_said_to_be(mount, rows, page):
    element = await mount()

    await element.get_by_role("button", name="Good response").click()

    await saved(element)
    await expect(element.get_by_role("status")).to_have_text("Thank you, saved")
    await expect(element.get_by_role("button", name="Good response", pressed=True)).to_be_visible()
    (row,) = await rows(Feedback)
    assert row.thumbs == "up"
    ((name, detail),) = await page.evaluate("() => events")
    assert (name, detail["values"], detail["reply"]["id"]) == (
        "heed-submitted",
        {"thumbs": "up"},
        str(row.id),
    )


async def test_a_flipped_thumb_and_a_comment_are_one_live_row(mount, rows, page):
    element = await mount()

    await element.get_by_role("button", name="Good response").click()
    await saved(element)
    await element.get_by_role("button", name="Bad response").click()
    await page.wait_for_function("() => events.length == 2")
    await element.get_by_role("button", name="Comment").click()
    await element.get_by_role("textbox").fill("No source given.")
    await element.get_by_role("button", name="Send").click()

    await expect(element.get_by_role("button", name="Comment")).to_be_focused()
    await stored(page, "comment")
    (row,) = await rows(Feedback)
    assert (row.thumbs, row.comments) == ("down", "No source given.")
    assert [old.thumbs for old in await rows(FeedbackHistory)] == ["up", "down"]
    assert len(await rows(InteractionRecord)) == 1


async def test_stars_are_chosen_with_the_arrow_keys(mount, rows, page):
    await page.clock.install(time=0)
    await page.clock.pause_at(60_000)
    element = await mount(attributes={"kinds": "stars"})

    await page.keyboard.press("Tab")
    await page.keyboard.press("Space")
    for _ in range(2):
        await page.keyboard.press("ArrowRight")
    await page.clock.run_for(1_000)

    await saved(element)
    await expect(element.get_by_role("radio", name="3 of 5 stars")).to_be_focused()
    (row,) = await rows(Feedback)
    assert row.rating == 3
    assert await rows(FeedbackHistory) == []  # what the keys passed through is not meant


async def test_every_control_works_with_the_keyboard_alone(mount, rows, page):
    element = await mount()

    for key in ("Tab", "Tab", "Enter", "Tab", "Enter"):
        await page.keyboard.press(key)
    await page.keyboard.type("No source.")
    await page.keyboard.press("Control+Enter")

    await expect(element.get_by_role("textbox")).to_be_hidden()
    await stored(page, "comment")
    (row,) = await rows(Feedback)
    assert (row.thumbs, row.comments) == ("down", "No source.")


async def test_escape_closes_the_comment_and_says_nothing(mount, rows, page):
    element = await mount()

    await element.get_by_role("button", name="Comment").press("Enter")
    await page.keyboard.type("draft")
    await page.keyboard.press("Escape")

    await expect(element.get_by_role("button", name="Comment")).to_be_focused()
    await expect(element.get_by_role("textbox")).to_be_hidden()
    assert await rows(Feedback) == []


async def test_what_is_typed_in_a_comment_is_no_shortcut_of_the_page(mount, page):
    element = await mount()
    await page.evaluate("() => { window.keys = []; onkeydown = (e) => keys.push(e.key); }")

    await element.get_by_role("button", name="Comment").click()
    for key in ("x", "Escape"):
        await page.keyboard.press(key)

    assert await page.evaluate("() => window.keys") == []


async def test_feedback_on_a_step_is_about_that_step(mount, rows, host):
    element = await mount(
        attributes={"kinds": "thumbs", "step": "2"}, source=TEXTS | {"step": {"step_order": 2}}
    )

    await (
        element.get_by_role("group", name="Feedback on step 2")
        .get_by_role("button", name="Bad response")
        .click()
    )

    await saved(element)
    (row,) = await rows(Feedback)
    assert (row.step, row.thumbs) == ("order:2", "down")


async def test_what_was_said_before_is_shown_again(mount):
    element = await mount(
        attributes={"kinds": "thumbs stars"}, properties={"value": {"thumbs": "down", "rating": 4}}
    )

    await expect(element.get_by_role("button", name="Bad response", pressed=True)).to_be_visible()
    await expect(element.get_by_role("radio", name="4 of 5 stars")).to_be_checked()


async def test_an_element_used_for_the_next_response_begins_anew(mount, rows, page, host):
    element = await mount(source={"interaction_id": "chat_1"}, attributes={"interaction-id": "c1"})
    await element.get_by_role("button", name="Good response").click()
    await saved(element)

    await element.evaluate("(element) => element.setAttribute('interaction-id', 'c2')")

    await expect(element).to_have_attribute("state", "idle")
    pressed = element.get_by_role("button", name="Good response", pressed=True)
    await expect(pressed).to_have_count(0)
    await element.get_by_role("button", name="Bad response").click()
    await saved(element)
    assert len(host.asked) == 2  # the first token is about the first response


async def test_the_element_has_room_in_a_flex_row(mount, page):
    element = await mount()

    await page.evaluate("() => { document.querySelector('main').style.display = 'flex'; }")

    assert (await element.bounding_box())["width"] > 100
