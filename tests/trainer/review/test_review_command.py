"""`heed review queue` as people type it."""

import json
from pathlib import Path
from subprocess import CompletedProcess

from services.feedback_api.erasure import ErasurePolicy, Person, erase_person
from services.trainer.erasure_jobs import work_off_one
from services.trainer.workplace import open_workplace
from shared.contracts.values import PersonKind
from shared.db.tables import InteractionRecord
from shared.exports import exports_folder
from tests.support.commands import run_command


def heed(command: list[str]) -> CompletedProcess[str]:
    return run_command(["heed", *command])


def recorded(at: int, **given: object) -> InteractionRecord:
    values = {
        "interaction_id": f"int_{at}",
        "user_prompt": f"What of private matter {at}?",
        "ai_response": f"This of private matter {at}.",
        "agent_name": "triage",
        "consent_training": True,
    }
    return InteractionRecord(**values | given)


async def test_the_queue_names_rows_and_reasons_and_no_text(
    as_settings, insert, monkeypatch, tmp_path: Path
):
    monkeypatch.setenv("COLUMNS", "200")
    await insert(*(recorded(at) for at in range(6)))
    output = tmp_path / "queue.jsonl"
    command = ["review", "queue", "--n", "5", "--audit-share", "0.4", "--output", str(output)]

    ended = heed(command)

    assert ended.returncode == 0, ended.stderr
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [line["reason"] for line in lines] == ["audit"] * 2 + ["coverage"] * 3
    assert [line["is_audit"] for line in lines] == [True] * 2 + [False] * 3
    assert len({line["interaction_id"] for line in lines}) == 5
    assert "5 of 6 not judged yet: 2 drawn at random" in ended.stdout
    assert "private" not in ended.stdout + ended.stderr + output.read_text()
    assert output.stat().st_mode & 0o077 == 0
    assert "an erasure does not reach this file" in ended.stdout


async def test_a_queue_among_the_kept_exports_goes_with_whoever_is_in_it(
    as_settings, settings, insert
):
    await insert(recorded(1, subjects=["s_x"]), recorded(2))
    output = exports_folder(settings.data_dir) / "queue.jsonl"
    ended = heed(["review", "queue", "--show-text", "--output", str(output)])
    assert ended.returncode == 0, ended.stderr
    assert "An erasure removes this file" in ended.stdout
    assert "private matter 1" in output.read_text()

    url = settings.database_url.get_secret_value()
    async with open_workplace(settings, url) as workplace:
        async with workplace.sessions.begin() as session:
            person = Person(1, PersonKind.SUBJECT, "s_x")
            policy = ErasurePolicy(retrains=False, days=30)
            await erase_person(session, person, actor="me", policy=policy)
        assert await work_off_one(workplace)

    assert not output.exists()
