"""`heed models card | mistakes` and `heed train --population`, in this process."""

import json
import re

import pytest
from sqlalchemy import select

from shared.contracts.audit import AuditReport
from shared.db.tables import AuditEntry
from shared.errors import InvalidInput


@pytest.fixture
def heed(invoke):
    """What a command says."""

    async def command(*words: object) -> str:
        return (await invoke(*words)).output

    return command


@pytest.fixture
async def judged(insert, polite) -> None:
    """Polite responses win, but for some; all end in what a terminal would obey."""
    posts = polite(64)
    for at, post in enumerate(posts):
        sides = [f"{text}\x1b[2J" for text in (post.response_a, post.response_b)]
        is_contrary = at // 8 % 4 == 3  # some of every topic, so that some are held out
        post.response_a, post.response_b = sides[::-1] if is_contrary else sides
    await insert(*posts)


@pytest.mark.usefixtures("judged")
async def test_the_card_is_printed_and_reading_mistakes_is_recorded(heed, sessions, tmp_path):
    table = tmp_path / "population.csv"
    table.write_text("slice,value,share\nagent,none,0.5\n")

    await heed("train", "embedding", "--population", table)
    card = await heed("models", "card", 1)
    report = AuditReport.model_validate_json(await heed("models", "card", 1, "--json"))
    mistakes = await heed("models", "mistakes", 1, "--limit", 1)

    assert report.findings[0].text in card
    assert str(table) in card
    assert "Gladly" not in card
    (worst,) = report.mistakes[:1]
    assert worst.row_ids[0] in mistakes
    chosen = re.search(r"chosen: (.*)", mistakes)
    assert json.loads(chosen[1]).endswith("\x1b[2J")
    assert "\x1b[2J" not in mistakes
    async with sessions() as session:
        entries = await session.scalars(
            select(AuditEntry).where(AuditEntry.action == "model.mistakes.read")
        )
    assert [entry.detail["mistakes"] for entry in entries] == [1]


async def test_a_wrong_population_table_stops_training_before_it_starts(heed, tmp_path):
    table = tmp_path / "population.csv"
    table.write_text("slice,value,share\nagent,none,50\n")

    with pytest.raises(InvalidInput, match="0 to 1"):
        await heed("train", "embedding", "--population", table)
