"""The widget for everybody: screen readers, themes, languages, reduced motion."""

from typing import Any

import pytest

from tests.support.pages import saved

playwright_api = pytest.importorskip("playwright.async_api", reason="NO BROWSER: no playwright")
expect = playwright_api.expect
DARK_TEXT = "rgb(232, 235, 240)"
GERMAN = ("Hilfreich", "Schlecht", "Comment")
FEEDBACK_TREE = """
- group "Feedback on this response":
  - button "Good response"
  - button "Bad response"
  - radiogroup "Rating":
    - radio "1 of 5 stars"
    - radio "2 of 5 stars" [checked]
    - radio "3 of 5 stars"
    - radio "4 of 5 stars"
    - radio "5 of 5 stars"
  - button "Comment"
  - status: Thank you, saved
"""
COMPARE_TREE = """
- group "Which response is better?":
  - region "Response 1": Response 1 Gases.
  - region "Response 2": Response 2 The sun.
  - text: Which response is better?
  - radiogroup "Which response is better?":
    - radio "Response 1 is better"
    - text: Response 1 is better
    - radio "Equally good"
    - text: Equally good
    - radio "Both are bad"
    - text: Both are bad
    - radio "Response 2 is better"
    - text: Response 2 is better
  - status
"""


async def test_a_screen_reader_is_told_what_there_is(mount):
    element = await mount(attributes={"kinds": "thumbs stars comment"})
    await element.get_by_role("radio", name="2 of 5 stars").check()
    await saved(element)

    assert await element.aria_snapshot() == FEEDBACK_TREE.strip()


async def test_a_screen_reader_is_told_what_is_compared(mount_comparison):
    element = await mount_comparison(order=["a", "b"])

    assert await element.aria_snapshot() == COMPARE_TREE.strip()


async def test_strings_follow_the_language_and_the_page(mount):
    german = await mount(attributes={"lang": "de-AT"}, properties={"labels": {"down": "Schlecht"}})

    names = [await german.get_by_role("button", name=name).count() for name in GERMAN]

    assert names == [1, 1, 1]


async def test_the_theme_follows_the_person_unless_the_page_decides(page, mount):
    dark = {}
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        for theme in ("", "light", "dark", "inherit"):
            element = await mount(attributes={"theme": theme})
            color = await element.evaluate("(element) => getComputedStyle(element).color")
            dark[scheme, theme] = color == DARK_TEXT

    assert {chosen for chosen, is_dark in dark.items() if is_dark} == {
        ("light", "dark"),
        ("dark", ""),
        ("dark", "dark"),
    }


async def test_nothing_moves_for_those_who_want_it_so(page, mount):
    element = await mount()
    moving = []

    for motion in ("no-preference", "reduce"):
        await page.emulate_media(reduced_motion=motion)
        name = await element.evaluate(
            "(element) => { element.setAttribute('state', 'sending');"
            " return getComputedStyle(element.shadowRoot.querySelector('.state')).animationName; }"
        )
        moving.append(name)

    assert moving == ["wait", "none"]


async def test_axe_finds_no_fault_in_feedback(page, mount, axe):
    element = await mount(attributes={"kinds": "thumbs stars comment"})
    await element.get_by_role("button", name="Good response").click()
    await element.get_by_role("button", name="Comment").click()
    await saved(element)

    assert await faults_of(page, axe) == []


async def test_axe_finds_no_fault_in_a_comparison(page, mount_comparison, axe):
    element = await mount_comparison(kinds="preference comment")
    await element.get_by_role("radio", name="Equally good").check()
    await saved(element)

    assert await faults_of(page, axe) == []


async def faults_of(page: Any, axe: str) -> list[str]:
    await page.evaluate(axe)
    found = []
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found += await page.evaluate(
            "async () => (await axe.run('main')).violations.map((fault) => fault.id)"
        )
    return found
