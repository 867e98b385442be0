"""Sealed texts: what opens them, what does not, and what a destroyed key leaves."""

import asyncio
import base64
import os
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from shared.config import Settings
from shared.db.columns import metadata
from shared.db.tables import ReasoningStep, SubjectKey
from shared.errors import ConfigError, DatabaseUnavailable, KeyMissing, Overloaded, UnreadableText
from shared.privacy.fields import FieldCipher, destroy_person_keys, is_sealed, open_cipher
from shared.privacy.keyring import load_keyring, new_master_key
from shared.privacy.sealed_text import JSON_COLUMNS, SEALED

Sessions = async_sessionmaker[AsyncSession]
FIRST, SECOND = new_master_key(), new_master_key()


def cipher(sessions: Sessions, keys: str | None = FIRST, *, encryption: str = "on") -> FieldCipher:
    return open_cipher(Settings(encryption=encryption, encryption_keys=keys), sessions)


def feedback(**changed: Any) -> dict[str, Any]:
    return {
        "project_id": 1,
        "clinician_id": "r_ada",
        "subjects": ["s_bob"],
        "user_query": "a canary in the prompt",
        "comments": "",
        "correction": {"corrected_response": "better", "n": [1, 0.5, None]},
        "annotations": [{"start": 0, "end": 3, "comment": "ümlaut"}],
        "agent_response": None,
    } | changed


async def sealed(of: FieldCipher, **changed: Any) -> dict[str, Any]:
    row = feedback(**changed)
    await of.seal("rlhf_feedback", row)
    return row


async def test_what_was_sealed_is_opened_by_another_process(sessions: Sessions):
    row = await sealed(cipher(sessions))

    hidden = str(row)
    lost = await cipher(sessions).unseal("rlhf_feedback_history", [row])

    assert (row, lost) == (feedback(), set())
    assert not any(word in hidden for word in ("canary", "better", "mlaut"))


async def test_texts_open_while_encryption_is_off_and_new_ones_stay_plain(sessions: Sessions):
    row, off = await sealed(cipher(sessions)), cipher(sessions, encryption="off")

    plain = await sealed(off)
    await off.unseal("rlhf_feedback", [row])

    assert row == plain == feedback()


async def test_rows_without_people_are_under_the_key_of_their_project(sessions: Sessions):
    await sealed(cipher(sessions), clinician_id=None, subjects=[], project_id=7)

    async with sessions() as session:
        keys = (await session.scalars(select(SubjectKey))).all()
    assert [(key.project_id, key.person) for key in keys] == [(7, "")]


async def test_two_processes_that_meet_a_person_at_once_agree_on_one_key(sessions: Sessions):
    ours = [cipher(sessions) for _ in range(4)]
    rows = await asyncio.gather(*(sealed(one) for one in ours for _ in range(3)))

    await cipher(sessions).unseal("rlhf_feedback", rows)

    assert rows == [feedback()] * 12


async def test_a_database_that_does_not_answer_is_told_and_not_waited_for(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shared.privacy.person_keys.TIMEOUT_S", 0.1)
    async with sessions.begin() as session:
        await session.execute(text("LOCK TABLE rlhf_subject_keys"))

        with pytest.raises(DatabaseUnavailable):
            await sealed(cipher(sessions))

    assert is_sealed((await sealed(cipher(sessions)))["user_query"])


async def test_of_too_many_that_wait_for_keys_some_are_refused(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shared.privacy.person_keys.MAX_ASKED", 5)
    ours = cipher(sessions)

    posts = (sealed(ours, clinician_id=f"r_{n}") for n in range(40))
    outcomes = await asyncio.gather(*posts, return_exceptions=True)

    refused = [outcome for outcome in outcomes if isinstance(outcome, Overloaded)]
    assert 0 < len(refused) < 40
    assert all(is_sealed(o["user_query"]) for o in outcomes if isinstance(o, dict))


@pytest.mark.parametrize("person", ["r_ada", "s_bob"])
async def test_destroying_any_of_the_people_makes_a_text_unreadable(
    sessions: Sessions, person: str
):
    row, other = await sealed(cipher(sessions)), await sealed(cipher(sessions), subjects=["s_eve"])
    async with sessions.begin() as session:
        assert await destroy_person_keys(session, 1, [person, "r_nobody"]) == 1

    lost = await cipher(sessions).unseal("rlhf_feedback", [row])

    assert lost == {0}
    assert (row["user_query"], row["correction"], row["comments"]) == (None, None, "")
    if person == "s_bob":
        assert await cipher(sessions).unseal("rlhf_feedback", [other]) == set()


async def test_a_person_who_came_into_the_table_without_a_pseudonym_is_sealed_too(
    sessions: Sessions,
):
    odd = {"clinician_id": "Dr. A:B+C 100%2B", "subjects": []}
    row, other = await sealed(cipher(sessions), **odd), await sealed(cipher(sessions), **odd)

    await cipher(sessions).unseal("rlhf_feedback", [row])
    async with sessions.begin() as session:
        assert await destroy_person_keys(session, 1, [odd["clinician_id"]]) == 1

    assert row == feedback(**odd)
    assert await cipher(sessions).unseal("rlhf_feedback", [other]) == {0}


async def test_who_posts_again_after_an_erasure_gets_a_new_key(sessions: Sessions):
    before, ours = await sealed(cipher(sessions)), cipher(sessions)
    async with sessions.begin() as session:
        await destroy_person_keys(session, 1, ["r_ada"])

    after = await sealed(ours)
    lost = await ours.unseal("rlhf_feedback", rows := [before, after])

    assert lost == {0}
    assert rows[1] == feedback()


async def test_a_forgotten_key_is_read_again_and_found_destroyed(sessions: Sessions):
    ours = cipher(sessions)
    row = await sealed(ours)
    async with sessions.begin() as session:
        await destroy_person_keys(session, 1, ["r_ada"])

    ours.forget()

    assert await ours.unseal("rlhf_feedback", [row]) == {0}


async def test_a_person_whose_master_key_is_absent_refuses_nobody_else(sessions: Sessions):
    await sealed(cipher(sessions), subjects=[])
    later = cipher(sessions, SECOND)

    refused, stored = await asyncio.gather(
        sealed(later, subjects=[]),
        sealed(later, clinician_id="r_new", subjects=[]),
        return_exceptions=True,
    )

    assert isinstance(refused, KeyMissing)
    assert is_sealed(stored["user_query"])


async def test_an_absent_master_key_is_named(sessions: Sessions):
    row = await sealed(cipher(sessions))

    for other in (cipher(sessions, SECOND), cipher(sessions, None, encryption="off")):
        with pytest.raises(KeyMissing, match=FIRST.partition(":")[0]):
            await other.unseal("rlhf_feedback", [row])


async def test_another_master_key_under_the_same_id_is_told(sessions: Sessions):
    row = await sealed(cipher(sessions))
    wrong = f"{FIRST.partition(':')[0]}:{base64.b64encode(os.urandom(32)).decode()}"

    with pytest.raises(KeyMissing, match="not the one"):
        await cipher(sessions, wrong).unseal("rlhf_feedback", [row])


async def test_a_wrapped_key_of_somebody_else_opens_nothing(sessions: Sessions):
    row = await sealed(cipher(sessions))
    async with sessions.begin() as session:
        stolen = await session.scalar(
            select(col(SubjectKey.wrapped_key)).where(col(SubjectKey.person) == "s_bob")
        )
        await session.execute(
            update(SubjectKey).where(col(SubjectKey.person) == "r_ada").values(wrapped_key=stolen)
        )

    with pytest.raises(KeyMissing, match="changed"):
        await cipher(sessions).unseal("rlhf_feedback", [row])


def moved_to_another_column(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"agent_response": row["user_query"]}


def moved_to_another_project(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"project_id": 2}


def said_to_be_of_others(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"user_query": row["user_query"].replace("r_ada+s_bob", "r_ada")}


def with_a_flipped_bit(row: dict[str, Any]) -> dict[str, Any]:
    head, _, encoded = row["user_query"].rpartition(":")
    content = bytearray(base64.b64decode(encoded))
    content[20] ^= 1
    return row | {"user_query": f"{head}:{base64.b64encode(content).decode()}"}


def cut_off(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"user_query": row["user_query"][:-9]}


def of_another_form(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"correction": {"$sealed": "heed:1:x"}}


@pytest.mark.parametrize(
    "change",
    [
        moved_to_another_column,
        moved_to_another_project,
        said_to_be_of_others,
        with_a_flipped_bit,
        cut_off,
        of_another_form,
    ],
)
async def test_a_changed_or_moved_text_is_refused(sessions: Sessions, change: Any):
    row = await sealed(cipher(sessions))
    await sealed(cipher(sessions), project_id=2)

    with pytest.raises(UnreadableText) as refused:
        await cipher(sessions).unseal("rlhf_feedback", [change(row)])

    assert "canary" not in refused.value.detail


async def test_a_clients_text_that_looks_sealed_comes_back_as_it_was(sessions: Sessions):
    lookalike = {"user_query": "heed:1:x:y:z", "correction": {"$sealed": "heed:1:a:b:c"}}
    row = await sealed(cipher(sessions), **lookalike)

    await cipher(sessions).unseal("rlhf_feedback", [row])

    assert row == feedback(**lookalike)


async def test_opening_a_row_of_the_orm_does_not_change_it(sessions: Sessions):
    plain = {"project_id": 1, "id": "c/1", "chat_id": "c", "step_order": 1, "step_content": "think"}
    row, ours = dict(plain), cipher(sessions)
    await ours.seal("reasoning_steps", row)
    async with sessions.begin() as session:
        session.add(ReasoningStep(**row))

    async with sessions.begin() as session:
        stored = (await session.scalars(select(ReasoningStep))).one()
        await ours.unseal("reasoning_steps", [stored])
        assert (stored.step_content, list(session.dirty)) == ("think", [])

    async with sessions() as session:
        assert is_sealed((await session.scalars(select(col(ReasoningStep.step_content)))).one())


def test_every_sealed_column_exists_and_json_ones_are_json():
    columns = {(t, c): metadata.tables[t].c[c].type for t in SEALED for c in SEALED[t]}

    assert {c for (_, c), kind in columns.items() if isinstance(kind, JSONB)} == JSON_COLUMNS


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ("a:c2hvcnQ=", "32 bytes"),
        ("a:not base64!", "32 bytes"),
        (f"{FIRST},{FIRST}", "twice"),
        ("no-colon-but-32-bytes", "32 bytes"),
        (f"b d:{FIRST.partition(':')[2]}", "no proper id"),
    ],
)
def test_wrong_master_keys_are_refused_without_being_shown(keys: str, complaint: str):
    with pytest.raises(ConfigError, match=complaint) as refused:
        load_keyring(Settings(encryption_keys=keys))

    assert keys.partition(":")[2] == "" or keys.partition(":")[2] not in refused.value.detail


def test_encryption_without_a_key_is_refused():
    with pytest.raises(ConfigError, match="needs a master key"):
        load_keyring(Settings(encryption="on"))


def test_a_key_file_is_read_line_by_line(tmp_path: Any):
    path = tmp_path / "master.keys"
    path.write_text(f"# the active one\n{SECOND}\n\n{FIRST}\n")
    path.chmod(0o600)

    keyring = load_keyring(Settings(encryption="on", encryption_key_file=path))

    assert list(keyring.keys) == [SECOND.partition(":")[0], FIRST.partition(":")[0]]
    assert keyring.active_id == SECOND.partition(":")[0]


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Any):
    path = tmp_path / "master.keys"
    path.write_text(FIRST)
    path.chmod(0o640)

    with pytest.raises(ConfigError, match="chmod 600"):
        load_keyring(Settings(encryption_key_file=path))


def test_keys_and_a_key_file_together_are_refused(tmp_path: Any):
    with pytest.raises(ConfigError, match="not both"):
        load_keyring(Settings(encryption_keys=FIRST, encryption_key_file=tmp_path))
