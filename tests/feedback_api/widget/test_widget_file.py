"""The module that pages load: how it is served, and what it may not hold."""

import re
from pathlib import Path

import pytest

from services.feedback_api.routes import widget

SOURCE = widget.SOURCE.decode()


async def test_the_widget_is_served_to_everybody_as_a_module(client):
    del client.headers["Authorization"]

    reply = await client.get("/widget/heed.js")

    assert (reply.status_code, reply.text) == (200, SOURCE)
    assert reply.headers["content-type"] == "text/javascript; charset=utf-8"
    assert reply.headers["access-control-allow-origin"] == "*"
    assert "max-age=3600" in reply.headers["cache-control"]


async def test_a_browser_that_has_the_widget_is_not_sent_it_again(client):
    known = (await client.get("/widget/heed.js")).headers["etag"]

    again = await client.get("/widget/heed.js", headers={"If-None-Match": known})
    changed = await client.get("/widget/heed.js", headers={"If-None-Match": 'W/"old"'})

    assert (again.status_code, again.content) == (304, b"")
    assert changed.status_code == 200


@pytest.mark.parametrize(("accepted", "sent"), [("gzip, br", "gzip"), ("identity", None)])
async def test_the_widget_is_compressed_for_those_who_can_read_it(client, accepted, sent):
    reply = await client.get("/widget/heed.js", headers={"Accept-Encoding": accepted})

    assert reply.headers.get("content-encoding") == sent
    assert reply.text == SOURCE


def test_the_widget_stays_small():
    assert len(widget.COMPRESSED) < 8 * 1024
    assert len(SOURCE) < 22 * 1024


@pytest.mark.parametrize(
    "forbidden",
    [
        r"innerHTML",
        r"\beval\(",
        r"new Function",
        r"document\.write",
        r"https?://(?!www\.w3\.org/2000/svg)",
        r"\bimport\b",
    ],
)
def test_the_widget_parses_no_text_as_code_and_loads_nothing(forbidden):
    assert re.findall(forbidden, SOURCE) == []


def test_the_types_name_every_string_of_the_widget():
    types = (Path(widget.__file__).parents[1] / "widget" / "heed.d.ts").read_text()
    strings = SOURCE[SOURCE.index("en: {") : SOURCE.index("};")]
    used = set(re.findall(r"^    (\w+): \"", strings, re.MULTILINE))

    assert len(used) == 21
    assert {name for name in used if f"  {name}: string;" not in types} == set()
