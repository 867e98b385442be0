"""The queue of a real database: who may be asked about, and what is never shown."""

import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlmodel import col

from services.trainer.examples import PreferencePair, RewardDataset
from services.trainer.recipes.embedding_reward import EmbeddingParams, train
from services.trainer.review.pool import list_interactions
from services.trainer.review.reviewing import (
    QueuePlan,
    audited_agreement,
    record_reading,
    review_queue,
)
from services.trainer.workplace import Workplace
from shared.artifacts import FolderStore
from shared.config import Settings
from shared.db.tables import AuditEntry, Consent, InteractionRecord
from shared.errors import NotEnoughData, NotFound
from shared.privacy.fields import destroy_person_keys, open_cipher
from shared.privacy.keyring import new_master_key
from shared.privacy.resealing import seal_stored
from shared.registry import NewVersion, promote, register_version

SECRET = b"a secret for the tests, long enough."
Insert = Callable[..., Awaitable[None]]


def recorded(name: str, **given: Any) -> InteractionRecord:
    values = {
        "interaction_id": name,
        "user_prompt": f"What of {name}?",
        "ai_response": f"This of {name}.",
        "agent_name": "triage",
        "consent_training": True,
    }
    return InteractionRecord(**values | given)


@pytest.fixture
def workplace(settings, sessions, tmp_path) -> Workplace:
    cipher = open_cipher(Settings(encryption="on", encryption_keys=new_master_key()), sessions)
    return Workplace(settings, sessions, FolderStore(tmp_path / "store"), SECRET, cipher)


async def asked(workplace: Workplace, **plan: Any) -> set[str]:
    queue = await review_queue(workplace, QueuePlan(**plan))
    return {one.interaction_id for one in queue.asked}


async def test_what_somebody_judged_is_not_asked_about_again(workplace, insert, feedback):
    await insert(
        *(recorded(name) for name in ("stars", "thumb", "comment", "step", "open")),
        feedback(interaction_id="stars", rating=4),
        feedback(interaction_id="thumb", thumbs="up"),
        feedback(interaction_id="comment", comments="well"),
        feedback(interaction_id="step", step="1", rating=4),
    )

    assert await asked(workplace) == {"comment", "step", "open"}


async def test_nobody_is_asked_about_what_people_did_not_consent_to(workplace, insert):
    await insert(
        recorded("no", consent_training=False),
        recorded("withdrawn", subjects=["s_1"]),
        recorded("elsewhere", project_id=2),
        recorded("fine", subjects=["s_2"]),
        Consent(kind="subject", person="s_1", purpose="training", granted=False),
    )

    assert await asked(workplace) == {"fine"}


async def test_texts_of_somebody_erased_are_not_asked_about(workplace, insert, sessions):
    await insert(recorded("erased", subjects=["s_1"]), recorded("fine"))
    await seal_stored(sessions, workplace.cipher)
    async with sessions.begin() as session:
        assert await destroy_person_keys(session, 1, ["s_1"]) == 1
    workplace.cipher.forget()

    assert await asked(workplace) == {"fine"}


async def test_only_the_agent_that_was_named_is_asked_about(workplace, insert):
    await insert(recorded("a"), recorded("b", agent_name="coder"))

    assert await asked(workplace, agent="coder") == {"b"}


async def test_the_queue_is_balanced_over_a_key_of_the_context(workplace, insert):
    for language, count in (("de", 3), ("en", 12)):
        rows = [recorded(f"{language}{n}", context={"lang": language}) for n in range(count)]
        await insert(*rows)

    queue = await review_queue(workplace, QueuePlan(count=6, audit_share=0, by="lang"))

    assert sorted(one.slice for one in queue.asked) == ["de", "de", "en", "en", "en", "en"]
    assert {one.reason for one in queue.asked} == {"coverage"}


async def test_the_random_share_stays_the_same_until_it_is_judged(workplace, insert, feedback):
    await insert(*(recorded(f"i{n}") for n in range(30)))
    plan = QueuePlan(count=10, audit_share=0.3)

    first, again = [await review_queue(workplace, plan) for _ in range(2)]
    share = [one.interaction_id for one in first.asked if one.is_audit]
    await insert(feedback(interaction_id=share[0], rating=4))
    after = await review_queue(workplace, plan)

    assert len(share) == 3
    assert [one.interaction_id for one in again.asked if one.is_audit] == share
    assert [one.interaction_id for one in after.asked if one.is_audit][:2] == share[1:]


async def test_the_order_of_the_draw_is_a_fair_one(workplace, insert, sessions):
    """Whatever comes first in the table, or was judged, has no better place."""
    await insert(*(recorded(f"i{n}", id=uuid.UUID(int=n)) for n in range(400)))

    async with sessions() as session:
        drawn = await list_interactions(session, SECRET, project_id=1, agent=None, by="agent")

    early = [one.id.int < 200 for one in drawn[:100]]
    assert 35 <= sum(early) <= 65
    assert len(drawn) == 400


async def test_showing_texts_is_in_the_audit_log_without_them(workplace, insert, sessions):
    await insert(recorded("a"))
    queue = await review_queue(workplace, QueuePlan())

    await record_reading(workplace, queue)

    async with sessions() as session:
        [entry] = await session.scalars(
            select(AuditEntry).where(col(AuditEntry.target) == "review-queue")
        )
    assert (entry.action, entry.detail["count"]) == ("rows.read", 1)
    assert entry.detail["rows"] == [str(queue.asked[0].id)]
    assert "What of" not in str(entry.detail)


async def test_a_queue_of_nothing_says_why(workplace, insert):
    with pytest.raises(NotEnoughData, match="No recorded interaction is left"):
        await review_queue(workplace, QueuePlan())


async def test_a_long_prompt_that_is_always_the_same_hides_no_response(workplace, insert):
    """Two responses say the same, one says something else: coverage asks about both kinds."""
    rules = "Follow each of these rules and never forget one of them. " * 60
    said = {"a": "Salt makes water boil later.", "b": "Salt makes water boil later!",
            "c": "The train to Rome leaves at noon."}  # fmt: skip
    await insert(
        *(recorded(name, user_prompt=rules, ai_response=text) for name, text in said.items())
    )

    found = await asked(workplace, count=2, audit_share=0)

    assert "c" in found


@pytest.fixture(scope="module")
def polite_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prefers polite responses to rude ones."""
    pairs = [
        PreferencePair(
            f"What about case {at}?", f"Gladly: rest, note {at}.", f"Nobody cares, note {at}.",
            group=f"{at}",
        )
        for at in range(40)
    ]  # fmt: skip
    return train(
        RewardDataset(pairs[:30], pairs[30:], [], [], "sha256:test"),
        EmbeddingParams(lexical=False, min_rated=20),
        output=tmp_path_factory.mktemp("models") / "polite",
        secret=SECRET,
        progress=lambda *_: None,
        code_version="test",
    ).folder


@pytest.fixture
async def live(workplace: Workplace, polite_model: Path, sessions) -> None:
    uri, sha256 = workplace.store.put_folder(polite_model)
    async with sessions.begin() as session:
        new = NewVersion(kind="embedding", sha256=sha256, uri=uri, metrics={})
        version = await register_version(session, new)
        await promote(session, version.id, reason="a test")


async def test_the_live_model_says_of_each_response_how_good_and_how_unsure(
    workplace, insert, live
):
    await insert(
        *(recorded(f"kind{n}", ai_response=f"Gladly: rest, note {n}.") for n in range(40)),
        *(recorded(f"rude{n}", ai_response=f"Nobody cares, note {n}.") for n in range(40)),
        recorded("code", ai_response="return x[::-1]  # O(n), slices copy"),
    )

    queue = await review_queue(workplace, QueuePlan(count=10, audit_share=0.2))

    assert queue.model == "reward@1"
    assert [one.reason for one in queue.asked] == ["audit"] * 2 + ["unsure"] * 8
    assert queue.asked[2].interaction_id == "code"
    for one in queue.asked:
        assert one.uncertainty is not None
        assert one.probability is not None
        assert one.interaction_id == "code" or (one.probability > 0.5) == (
            one.interaction_id.startswith("kind")
        )


async def test_accuracy_is_read_off_the_judged_part_of_the_random_share(
    workplace, insert, feedback, live
):
    names = [f"kind{n}" for n in range(30)] + [f"rude{n}" for n in range(30)]
    texts = {
        name: "Gladly: rest." if name.startswith("kind") else "Nobody cares." for name in names
    }
    await insert(*(recorded(name, ai_response=text) for name, text in texts.items()))
    share = (await review_queue(workplace, QueuePlan(count=40, audit_share=1))).asked
    is_wrong = {share[at].interaction_id for at in range(10)}
    await insert(
        *(
            feedback(
                interaction_id=one.interaction_id,
                rating=5 if one.interaction_id.startswith("kind") else 1,
            )
            for one in share
            if one.interaction_id not in is_wrong
        ),
        *(
            feedback(interaction_id=name, thumbs="down" if name.startswith("kind") else "up")
            for name in is_wrong
        ),
    )

    found = await audited_agreement(workplace, QueuePlan())

    assert (found.judged, found.left_out) == (40, 0)
    assert 40 <= found.sample <= 42
    assert found.accuracy is not None
    assert found.accuracy.mean == pytest.approx(0.75)


async def test_a_project_asks_by_its_own_models(workplace, insert, sessions):
    await insert(recorded("a", project_id=2))
    async with sessions.begin() as session:
        version = await register_version(
            session, NewVersion("embedding", "0" * 64, "heed://1/models/none", {})
        )
        await promote(session, version.id, reason="a test")

    queue = await review_queue(workplace, QueuePlan(project_id=2))
    with pytest.raises(NotFound):
        await review_queue(workplace, QueuePlan(project_id=2, model="reward@1"))

    assert (queue.model, len(queue.asked)) == (None, 1)


async def test_a_model_that_is_not_there_is_named(workplace, insert):
    await insert(recorded("a"))

    with pytest.raises(NotFound, match="version '9'"):
        await review_queue(workplace, QueuePlan(model="reward@9"))
