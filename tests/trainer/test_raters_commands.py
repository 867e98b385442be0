"""`heed raters` as people type it, on posts of several raters."""

import asyncio
import json
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from heed_cli.main import app
from services.trainer.snapshots import freeze_feedback


@pytest.fixture
def heed(settings, monkeypatch):
    """Runs a command as `heed` does, in a thread of its own: commands start their own loop."""
    monkeypatch.setenv("HEED_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("HEED_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("HEED_SECRET_KEY", settings.secret_key.get_secret_value())
    monkeypatch.setenv("COLUMNS", "200")

    async def command(*words: str) -> str:
        ended = await asyncio.to_thread(CliRunner().invoke, app, ["raters", *words])
        assert ended.exit_code == 0, ended.output
        return ended.output

    return command


@pytest.fixture
async def judged(insert, feedback, preference) -> None:
    """Two careful raters and a contrary one, on stars of one agent and choices of another."""
    raters = ("r_a", "r_b", "r_c", "r_contrary")
    stars = [
        feedback(
            target=f"t {at}", clinician_id=rater, user_query=f"secret {at}", agent_response="yes",
            rating=1 + at % 5 if rater != "r_contrary" else 5 - at % 5, agent_name="tutor",
            timestamp=datetime(2026, 1 + at // 20, 5, tzinfo=UTC),
        )
        for at in range(40) for rater in raters
    ]  # fmt: skip
    choices = [
        preference(
            target=f"p {at}", clinician_id=rater, prompt=f"secret {at}", agent_name="coach",
            response_a="well", response_b="badly", outcome="a" if rater != "r_contrary" else "b",
            timestamp=datetime(2026, 3, 1 + at % 28, 8, at, tzinfo=UTC),
        )
        for at in range(40) for rater in raters
    ]  # fmt: skip
    await insert(*stars, *choices)


@pytest.mark.usefixtures("judged")
async def test_the_list_shows_every_rater_and_who_contradicts_the_others(heed):
    said = await heed("list")

    lines = {line.split()[0]: line for line in said.splitlines()}
    assert {"r_a", "r_b", "r_c", "r_contrary"} <= set(lines)
    assert "contrary, outlier" in lines["r_contrary"]
    assert "0.01" in lines["r_contrary"]
    assert lines["r_a"].split()[1:3] == ["80", "25%"]
    assert "secret" not in said


@pytest.mark.usefixtures("judged")
async def test_the_list_tells_of_newcomers_who_crowd_on_an_agent(heed, insert, feedback):
    crowd = [
        feedback(
            target=f"c {at}", clinician_id=f"new {at % 12}", user_query=f"secret {at}",
            agent_response="yes", rating=1, agent_name="tutor",
            timestamp=datetime(2026, 2, 20, 9, at, tzinfo=UTC),
        )
        for at in range(36)
    ]  # fmt: skip
    await insert(*crowd)

    said = await heed("list")

    assert "12 newcomers on agent tutor within an hour of 2026-02-20T09:00" in said


@pytest.mark.usefixtures("judged")
async def test_the_list_as_json_holds_numbers_by_pseudonym_and_no_text(heed):
    said = await heed("list", "--json")

    report = json.loads(said)
    contrary = next(line for line in report["raters"] if line["rater"] == "r_contrary")
    assert contrary["reliability"]["high"] < 0.5
    assert contrary["others"]["is_outlier"] is True
    assert report["metrics"]["raters"] == 4
    assert "secret" not in said


@pytest.mark.usefixtures("judged")
async def test_agreement_is_shown_by_kind_by_agent_and_by_month(heed):
    overall = json.loads(await heed("agreement", "--json"))
    by_agent = json.loads(await heed("agreement", "--by", "agent", "--json"))
    by_month = await heed("agreement", "--by", "month")

    assert [(one["kind"], one["agreement"]["units"]) for one in overall] == [
        ("stars", 40),
        ("comparisons", 40),
    ]
    assert overall[0]["agreement"]["alpha"]["low"] < overall[0]["agreement"]["alpha"]["value"]
    assert [(one["kind"], one["name"]) for one in by_agent] == [
        ("stars", "tutor"),
        ("comparisons", "coach"),
    ]
    assert [line.split()[:4] for line in by_month.splitlines()[1:]] == [
        ["stars", "2026-01", "20", "4"],
        ["stars", "2026-02", "20", "4"],
        ["comparisons", "2026-03", "40", "4"],
    ]


@pytest.mark.usefixtures("judged")
async def test_confusions_show_who_says_what_of_which_truth(heed):
    found = json.loads(await heed("confusions", "--kind", "stars", "--json"))
    table = await heed("confusions", "--kind", "stars")

    contrary = next(one for one in found if one["rater"] == "r_contrary")
    assert [one["judgements"] for one in found] == [40] * 4
    assert max(contrary["says"]["5"], key=contrary["says"]["5"].get) == "1"
    assert next(line for line in table.splitlines() if line.startswith("r_a")).split()[1] == "40"
    assert "No two raters" in await heed("confusions")


@pytest.mark.usefixtures("judged")
async def test_a_frozen_dataset_says_what_its_posts_say(heed, sessions, freezing):
    live = await heed("agreement", "--json")
    async with sessions.begin() as session:
        dataset = await freeze_feedback(session, freezing)

    frozen = await heed("agreement", "--json", "--dataset", str(dataset.id))

    for one, other in zip(json.loads(live), json.loads(frozen), strict=True):
        assert one["agreement"]["alpha"]["value"] == pytest.approx(
            other["agreement"]["alpha"]["value"]
        )
        assert one["agreement"]["judgements"] == other["agreement"]["judgements"]


@pytest.mark.usefixtures("judged")
async def test_a_slice_that_no_judgement_has_is_named(heed):
    assert "No judgement says its tone" in await heed("agreement", "--by", "tone")


async def test_without_any_judgement_there_is_nothing_to_show(heed):
    assert "Nobody" in await heed("list")
    assert "No two raters" in await heed("agreement")
