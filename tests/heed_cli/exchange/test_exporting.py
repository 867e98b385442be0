"""Exports hold what may be given away, are audited, and are complete or not there."""

import asyncio
import base64
import json
import resource
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import delete, select, text, update
from sqlmodel import col

from heed_cli.exchange.writing import lines_beside
from services.feedback_api.app import create_app
from shared.contracts.values import PersonKind
from shared.db.tables import AuditEntry, Consent, Feedback, InteractionRecord, Preference
from shared.errors import Conflict, InvalidInput, NotEnoughData
from shared.exports import exports_folder, exports_holding
from shared.privacy import load_secret, pseudonym
from shared.privacy.fields import destroy_person_keys


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


async def take_in(place, rows: list[dict[str, Any]], name: str = "rows", **given: Any) -> None:
    path = place.folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    await place.take_in("csv", path, **given)


async def prompts(place, format_name: str, **wanted: Any) -> list[str]:
    """The prompts of an export."""
    path = place.folder / "out.jsonl"
    path.unlink(missing_ok=True)
    try:
        await place.give_out(format_name, path, **wanted)
    except NotEnoughData:
        return []
    return [row["prompt"] for row in rows_of(path)]


def rated(prompt: str, **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "response": "r", "thumbs": "up", **more}


async def test_rows_without_consent_are_exported_only_when_asked_for(place):
    await take_in(place, [rated("yes")], "a", consent=True)
    await take_in(place, [rated("no")], "b", consent=False)

    assert await prompts(place, "trl-unpaired") == ["yes"]
    assert await prompts(place, "csv") == ["yes"]
    assert await prompts(place, "csv", is_consented=False) == ["yes", "no"]


async def test_what_a_person_withdrew_is_not_exported(place):
    await take_in(place, [rated("hers", rater_id="jane"), rated("his", rater_id="john")])
    secret = load_secret(place.settings)
    jane = pseudonym(secret, place.project, "rater", "jane")
    async with place.sessions.begin() as session:
        session.add(
            Consent(
                project_id=place.project,
                kind=PersonKind.RATER,
                person=jane,
                purpose="training",
                granted=False,
            )
        )

    assert await prompts(place, "trl-unpaired") == ["his"]


async def test_filters_choose_by_task_agent_source_and_time(place):
    await take_in(place, [rated("a", task_type="triage"), rated("b", agent_name="x")], "one")
    await take_in(place, [rated("c")], "two")
    async with place.sessions.begin() as session:
        await session.execute(
            update(Feedback)
            .where(col(Feedback.project_id) == place.project, col(Feedback.user_query) == "c")
            .values(created_at=text("now() + interval '2 days'"))
        )
        later = (await session.execute(text("SELECT now() + interval '1 day'"))).scalar_one()

    assert await prompts(place, "csv", task="triage") == ["a"]
    assert await prompts(place, "csv", agent="x") == ["b"]
    assert await prompts(place, "csv", source="one.jsonl") == ["a", "b"]
    assert await prompts(place, "csv", since=later) == ["c"]
    assert await prompts(place, "csv", task="none") == []


async def test_another_projects_rows_stay_out(place, new_place):
    other = await new_place()
    await take_in(place, [rated("mine")])
    await take_in(other, [rated("theirs")])

    assert await prompts(place, "csv") == ["mine"]


async def test_feedback_that_names_an_interaction_is_exported_with_its_texts(place):
    async with httpx.AsyncClient(
        transport=place.transport,
        base_url="http://heed",
        headers={"Authorization": f"Bearer {place.key}"},
    ) as client:
        exchange = {"interaction_id": "i1", "prompt": "asked", "response": "told"}
        await client.post("/interactions", json=exchange)
        await client.post("/feedback", json={"interaction_id": "i1", "thumbs": "down"})
        no = {"interaction_id": "i2", "prompt": "no", "response": "told"}
        await client.post("/interactions", json={**no, "consent": {"training": False}})
        await client.post("/feedback", json={"interaction_id": "i2", "thumbs": "down"})

    await place.give_out("trl-unpaired", place.folder / "out.jsonl")

    assert rows_of(place.folder / "out.jsonl") == [
        {"prompt": "asked", "completion": "told", "label": False}
    ]


async def test_an_export_is_written_into_the_audit_log(place):
    await take_in(place, [rated("secret text")])

    await place.give_out("csv", place.folder / "out.jsonl", agent=None)

    async with place.sessions() as session:
        [entry] = await session.scalars(
            select(AuditEntry).where(
                col(AuditEntry.project_id) == place.project,
                col(AuditEntry.action) == "feedback.export",
            )
        )
    assert (entry.target, entry.detail["rows"], entry.detail["file"]) == ("csv", 1, "out.jsonl")
    assert entry.detail["filters"] == {"is_consented": "True"}


async def test_a_file_named_after_a_person_is_not_named_in_the_audit_log(place):
    await take_in(place, [rated("a")])

    await place.give_out("csv", place.folder / "for Ann Miller.csv")

    async with place.sessions() as session:
        kept = await session.scalars(
            select(AuditEntry.detail).where(col(AuditEntry.project_id) == place.project)
        )
        assert "Ann" not in str(kept.all())


async def test_a_kept_export_is_found_by_its_rows_and_private(place):
    await take_in(place, [rated("a", note="n" * 100), rated("b")])
    path = exports_folder(place.settings.data_dir) / "kept.jsonl"

    await place.give_out("csv", path, source="rows.jsonl")

    async with place.sessions() as session:
        mine = col(Feedback.project_id) == place.project
        seqs = list(await session.scalars(select(Feedback.seq).where(mine)))
        recorded = col(InteractionRecord.project_id) == place.project
        [kept] = await session.scalars(select(InteractionRecord.id).where(recorded))
    data_dir = place.settings.data_dir
    assert exports_holding(data_dir, seqs[:1]) == [path]
    assert exports_holding(data_dir, seqs[1:]) == [path]
    assert exports_holding(data_dir, [], [str(kept)]) == [path]
    assert path.stat().st_mode & 0o077 == 0


async def test_an_erasure_meanwhile_leaves_no_file_behind(place, shared_database_url):
    await take_in(place, [rated("a")])
    path = exports_folder(place.settings.data_dir) / "meanwhile.jsonl"

    async def erase() -> None:
        connection = await asyncpg.connect(shared_database_url)
        statement = (
            "INSERT INTO rlhf_erasures (id, project_id, kind, person, seqs) "
            "VALUES (gen_random_uuid(), $1, 'rater', 'p', '{}')"
        )
        await connection.execute(statement, place.project)
        await connection.close()

    def somebody_is_erased(_: int) -> None:
        other = threading.Thread(target=lambda: asyncio.run(erase()))
        other.start()
        other.join()

    with pytest.raises(Conflict, match="erased while rows were read"):
        await place.give_out("csv", path, on_rows=somebody_is_erased)

    assert [left.name for left in path.parent.iterdir() if "meanwhile" in left.name] == []


async def test_erased_rows_are_in_no_export(place):
    await take_in(place, [rated("gone"), rated("stays")])
    async with place.sessions.begin() as session:
        await session.execute(
            delete(Feedback).where(
                col(Feedback.project_id) == place.project, col(Feedback.user_query) == "gone"
            )
        )

    assert await prompts(place, "csv") == ["stays"]


async def test_a_missing_judgement_leaves_the_others_in_their_columns(place):
    row = {"prompt": "p", "response1": "a", "response2": "b"}
    path = place.folder / "several.jsonl"
    path.write_text(json.dumps(row | {f"annotator{n}": n % 3 for n in (1, 2, 3)}))
    await place.take_in("comparisons", path)
    async with place.sessions.begin() as session:
        mine = col(Preference.project_id) == place.project
        await session.execute(delete(Preference).where(mine, col(Preference.outcome) == "b"))

    await place.give_out("comparisons", place.folder / "out.jsonl")

    assert rows_of(place.folder / "out.jsonl") == [row | {"annotator1": 1, "annotator3": 0}]


async def test_a_context_that_only_looks_imported_does_not_stop_an_export(place):
    mark = {"format": "hh-rlhf", "source": "x", "row": 10**18, "margins": 5, "post": []}
    strange: list[Any] = [mark, "text", {"row": 1}, {"source": "s", "row": "1"}]
    async with httpx.AsyncClient(
        transport=place.transport,
        base_url="http://heed",
        headers={"Authorization": f"Bearer {place.key}"},
    ) as client:
        for n, given in enumerate(strange):
            body = {"prompt": f"p{n}", "response_a": "a", "response_b": "b", "preferred": "a"}
            reply = await client.post("/preference", json={**body, "context": {"import": given}})
            assert reply.status_code == 201

    await place.give_out("hh-rlhf", place.folder / "out.jsonl")

    assert len(rows_of(place.folder / "out.jsonl")) == len(strange)


async def test_nothing_to_write_and_nowhere_to_write_are_refused(place):
    with pytest.raises(NotEnoughData, match="nothing is written"):
        await place.give_out("csv", place.folder / "out.jsonl")
    with pytest.raises(InvalidInput, match="none of .jsonl"):
        await place.give_out("csv", place.folder / "out.xlsx")
    with pytest.raises(InvalidInput, match="cannot be written: No such file"):
        await place.give_out("csv", place.folder / "nowhere" / "out.csv")

    assert list(place.folder.iterdir()) == []


@pytest.fixture
async def sealed_place(new_place, tmp_path) -> AsyncIterator[Any]:
    """A project of an API that encrypts."""
    place = await new_place()
    key = base64.b64encode(bytes(range(32))).decode()
    given = place.settings.model_dump() | {"encryption": "on", "encryption_keys": f"k1:{key}"}
    place.settings = type(place.settings)(**given)
    app = create_app(place.settings)
    async with app.router.lifespan_context(app) as state:

        async def call(scope: Any, receive: Any, send: Any) -> None:
            scope["state"] = dict(state)
            await app(scope, receive, send)

        place.transport = httpx.ASGITransport(call)
        yield place


def test_a_disk_that_takes_no_more_is_told_of_the_file(tmp_path):
    def write_too_much():
        with lines_beside(tmp_path / "rows.csv") as (writer, _):
            for _ in range(1000):
                writer.add({"prompt": "x" * 100})

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(InvalidInput, match=r"rows\.csv cannot be written: File too large"):
            write_too_much()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert list(tmp_path.iterdir()) == []


async def test_encrypted_rows_come_back_as_they_were(sealed_place):
    row = {
        "question": "q",
        "passages": [["t", "secret passage"]],
        "feedback": {"errors": [], "missing-info": [], "corrected-prediction": "secret"},
        **{f"prediction {n}": f"secret {n}" for n in range(1, 5)},
        "preference": [1, 2, 0, 1, 2, 0],
    }
    path = sealed_place.folder / "qa.jsonl"
    path.write_text(json.dumps(row))

    await sealed_place.take_in("qa-feedback", path)
    await sealed_place.give_out("qa-feedback", sealed_place.folder / "back.jsonl")

    async with sealed_place.sessions() as session:
        mine = col(InteractionRecord.project_id) == sealed_place.project
        [stored] = await session.scalars(select(InteractionRecord).where(mine))
    assert "secret" not in json.dumps(stored.structured_response)
    assert rows_of(sealed_place.folder / "back.jsonl") == [row]


async def test_a_row_whose_key_was_destroyed_is_in_no_export(sealed_place):
    await take_in(sealed_place, [rated("hers", rater_id="jane"), rated("his", rater_id="john")])
    secret = load_secret(sealed_place.settings)
    jane = pseudonym(secret, sealed_place.project, "rater", "jane")
    async with sealed_place.sessions.begin() as session:
        await destroy_person_keys(session, sealed_place.project, [jane])

    assert await prompts(sealed_place, "csv") == ["his"]
