"""Choosing between two responses, in a real Chromium."""

import pytest

from shared.db.tables import Preference
from tests.support.pages import PAIR, saved, stored

playwright_api = pytest.importorskip("playwright.async_api", reason="NO BROWSER: no playwright")
expect = playwright_api.expect


@pytest.mark.parametrize(("order", "first"), [(["a", "b"], "Gases."), (["b", "a"], "The sun.")])
async def test_a_choice_is_stored_with_the_order_it_was_shown_in(
    mount_comparison, rows, order, first
):
    element = await mount_comparison(order=order)

    left = element.get_by_role("region", name="Response 1")
    await expect(left).to_contain_text(first)
    await element.get_by_role("radio", name="Response 1 is better").check()

    await saved(element)
    (row,) = await rows(Preference)
    assert (row.outcome, row.presented_order) == (order[0], order)
    assert (row.response_a, row.response_b) == ("Gases.", "The sun.")


async def test_a_choice_can_be_changed_and_explained(mount_comparison, rows, page):
    element = await mount_comparison(kinds="preference comment")

    await expect(element.get_by_role("button", name="Comment")).to_be_hidden()
    await element.get_by_role("radio", name="Both are bad").check()
    await saved(element)
    await page.keyboard.press("ArrowLeft")
    await element.get_by_role("button", name="Comment").click()
    await page.keyboard.type("Neither explains it.")
    await page.keyboard.press("Control+Enter")

    await stored(page, "comment")
    (row,) = await rows(Preference)
    assert (row.outcome, row.comments) == ("tie", "Neither explains it.")


async def test_the_order_of_two_responses_is_drawn_anew(mount_comparison, page):
    orders = set()
    for _ in range(40):
        element = await mount_comparison()
        orders.add(await element.evaluate("(element) => element.order.join('')"))

    assert orders == {"ab", "ba"}


async def test_a_page_may_render_the_responses_itself(mount_comparison):
    element = await mount_comparison(order=["b", "a"])

    await element.evaluate(
        "(element) => { const text = document.createElement('em');"
        " text.slot = 'a'; text.textContent = 'Rendered.'; element.append(text); }"
    )

    shown = [
        await element.get_by_role("region", name=f"Response {place}").aria_snapshot()
        for place in (1, 2)
    ]
    assert "The sun." in shown[0]
    assert "Rendered." in shown[1]
    assert "Gases." not in shown[1]


async def test_nothing_is_sent_before_both_responses_are_there(mount, rows, page):
    texts = {"prompt": PAIR["prompt"], "responseA": PAIR["response_a"]}
    element = await mount(
        "heed-compare",
        attributes={"streaming": ""},
        properties=texts | {"responseB": "The"},
        source={"compare": PAIR, "rater_id": 7},
    )

    await element.get_by_role("radio", name="Equally good").check()
    await expect(element).to_have_attribute("state", "queued")
    await element.evaluate("(element, text) => { element.responseB = text; }", PAIR["response_b"])
    await element.evaluate("(element) => element.removeAttribute('streaming')")

    await saved(element)
    assert [row.outcome for row in await rows(Preference)] == ["tie"]
