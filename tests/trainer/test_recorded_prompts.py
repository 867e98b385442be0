"""Prompts that applications recorded and nobody judged, in datasets and in policy runs."""

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col
from support.tiny_policy import save_tiny_policy

from services.feedback_api.erasure import ErasurePolicy, Person, erase_person
from services.feedback_api.erasure.retention import expire_rows
from services.trainer.erasure_jobs import work_off_one
from services.trainer.examples import RecordedPrompt, RewardDataset
from services.trainer.execution import train_here
from services.trainer.leakage import find_leaks
from services.trainer.placing import Splitting
from services.trainer.policies.data import policy_data
from services.trainer.snapshots import freeze_feedback, load_dataset
from services.trainer.workplace import open_workplace
from shared.config import Settings
from shared.contracts.training import RunKind, TrainingRequest
from shared.contracts.values import PersonKind
from shared.db.tables import Consent, Dataset, InteractionRecord
from shared.errors import NotEnoughData
from shared.lineage import datasets_holding
from shared.privacy.fields import destroy_person_keys, open_cipher
from shared.privacy.keyring import new_master_key
from shared.privacy.resealing import seal_stored

Sessions = async_sessionmaker[AsyncSession]
_numbers = count()


def recorded(prompt: str, **given: Any) -> InteractionRecord:
    """A consented exchange of its own."""
    values = {
        "interaction_id": f"int_{next(_numbers)}",
        "ai_response": "an answer",
        "consent_training": True,
    }
    return InteractionRecord(user_prompt=prompt, **values | given)


@pytest.fixture
def freeze(sessions: Sessions, freezing: Any) -> Callable[..., Any]:
    """Freezes everything, with so many recorded prompts."""

    async def freeze_with(most: int = 100, **given: Any) -> tuple[Dataset, RewardDataset]:
        async with sessions.begin() as session:
            wanted = replace(freezing, recorded_prompts=most, **given)
            dataset = await freeze_feedback(session, wanted)
        return dataset, load_dataset(dataset, freezing.store)

    return freeze_with


def prompts_of(dataset: RewardDataset) -> set[str]:
    return {one.prompt for one in (*dataset.train_prompts, *dataset.test_prompts)}


async def test_the_newest_unjudged_prompts_enter_each_once(freeze, insert, feedback):
    await insert(recorded("the oldest one"))
    await insert(recorded("What now?"), recorded("What else?"))
    await insert(recorded("what  NOW?"), feedback(rating=4, user_query="Something judged?"))

    frozen, dataset = await freeze(2)

    assert prompts_of(dataset) == {"what  NOW?", "What else?"}
    assert frozen.counts["prompts_train"] + frozen.counts["prompts_test"] == 2
    assert frozen.rows == 3


async def test_reward_models_are_given_none(freeze, insert, feedback):
    await insert(recorded("What now?"), feedback(rating=4))

    _, dataset = await freeze(0)

    assert not prompts_of(dataset)


async def test_a_prompt_that_somebody_judged_is_no_unjudged_one(freeze, insert, feedback):
    commented = recorded("commented")
    refused = recorded("rated, and not to be learned from")
    await insert(
        recorded("Judged elsewhere?"), feedback(rating=4, user_query="judged elsewhere?"),
        commented, feedback(target=commented.interaction_id, comments="hm", user_query=None),
        refused, feedback(target=refused.interaction_id, rating=1, consent_training=False),
        recorded("nobody's"),
    )  # fmt: skip

    _, dataset = await freeze()

    assert prompts_of(dataset) == {"nobody's"}


async def test_only_who_allows_training_is_learned_from(freeze, insert, feedback):
    await insert(
        recorded("never allowed", consent_training=False),
        recorded("taken back", subjects=["s_x"]),
        recorded("of another project", project_id=2),
        recorded("   "),
        recorded("allowed", subjects=["s_y"]),
        Consent(kind="subject", person="s_x", purpose="training", granted=False),
        feedback(rating=4),
    )

    _, dataset = await freeze()

    assert prompts_of(dataset) == {"allowed"}


async def test_sealed_prompts_are_opened_and_lost_ones_left_out(freeze, insert, sessions, feedback):
    settings = Settings(encryption="on", encryption_keys=new_master_key())
    cipher = open_cipher(settings, sessions)
    await insert(recorded("readable"), recorded("lost", subjects=["s_x"]), feedback(rating=4))
    await seal_stored(sessions, cipher)
    async with sessions.begin() as session:
        assert await destroy_person_keys(session, 1, ["s_x"]) == 1

    _, dataset = await freeze(cipher=open_cipher(settings, sessions))

    assert prompts_of(dataset) == {"readable"}


async def test_a_held_out_prompt_is_held_out_whoever_asks_it_again(freeze, insert, feedback):
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnop", k=7)) for _ in range(400)]
    asked = [" ".join(draw.choices(words, k=8)) for _ in range(60)]
    await insert(*(feedback(rating=4, user_query=prompt) for prompt in asked[:30]))
    _, before = await freeze(0)
    held = {one.prompt for one in before.test_rated}
    nearly = {prompt: f"{prompt}, please" for prompt in asked[:30]}
    await insert(*map(recorded, [*nearly.values(), *asked[30:]]))

    _, dataset = await freeze()

    trained = {one.prompt for one in dataset.train_prompts}
    assert held
    assert trained.isdisjoint({nearly[prompt] for prompt in held})
    assert {one.prompt for one in dataset.test_rated} == held
    new = {one.prompt for one in dataset.test_prompts} - {nearly[prompt] for prompt in held}
    assert 0 < len(new) <= 15, "a share of the unjudged ones is held out"
    assert not find_leaks(dataset)


async def test_many_unjudged_prompts_take_nothing_from_those_that_judge(
    freeze, insert, feedback, preference
):
    await insert(*(recorded(f"unjudged number {at}, and so on") for at in range(80)))
    await insert(*(preference(prompt=f"compared number {at}") for at in range(10)))
    await insert(*(feedback(rating=4, user_query=f"rated number {at}") for at in range(10)))

    frozen, dataset = await freeze()

    assert (frozen.counts["pairs_test"], frozen.counts["rated_test"]) == (2, 2)
    assert len(dataset.test_prompts) == 16


async def test_an_often_asked_question_holds_out_no_more_of_what_was_compared(
    freeze, insert, preference
):
    often = "When does the pharmacy of the north wing open on public holidays?"
    compared = [often, *(f"Compared question number {at} about something" for at in range(9))]
    await insert(*(preference(prompt=prompt) for prompt in compared))
    await insert(*(recorded(f"{often} {'!' * at} {'Thanks' * (at % 2)}") for at in range(40)))

    frozen, dataset = await freeze()

    assert (frozen.counts["groups_test"] - len(dataset.test_prompts)) in (2, 1)
    assert frozen.counts["pairs_test"] == 2


async def test_a_system_prompt_that_only_the_judged_share_joins_none_of_them(
    freeze, insert, preference
):
    shared = "You are the assistant of the clinic of Little Hamlet and answer in plain words: "
    await insert(*(preference(prompt=f"{shared}question {at}?") for at in range(30)))
    await insert(*(recorded(f"Weather of station {at} in the year {at}?") for at in range(60)))

    frozen, dataset = await freeze()

    assert frozen.filters["split"]["near_duplicates"] == 0
    assert (frozen.counts["pairs_test"], len(dataset.test_prompts)) == (6, 12)


async def test_what_is_near_to_both_sides_is_kept_aside(freeze, insert, preference):
    """The first and the last have too little in common; the bridge is near to both."""
    first = "alpha bravo charlie delta echo foxtrot golf hotel"
    last = "charlie delta echo foxtrot golf hotel india juliet"
    await insert(preference(prompt=first), preference(prompt=last))
    await insert(recorded("bravo charlie delta echo foxtrot golf hotel india"))

    frozen, dataset = await freeze()

    assert (len(dataset.train_pairs), len(dataset.test_pairs)) == (1, 1)
    assert prompts_of(dataset) == set()
    assert frozen.counts["prompts_aside"] == frozen.filters["split"]["kept_aside"] == 1


async def test_the_newest_prompts_to_hold_out_are_judged_ones(freeze, insert, preference):
    now = datetime.now(UTC)
    judged = [
        preference(prompt=f"Judged on day {at}?", timestamp=now - timedelta(days=40 - at))
        for at in range(10)
    ]
    await insert(*judged, *(recorded(f"Asked today, case {at}?") for at in range(50)))

    _, dataset = await freeze(splitting=Splitting(0.2, test_newest=0.2))

    assert {pair.prompt for pair in dataset.test_pairs} == {"Judged on day 8?", "Judged on day 9?"}
    assert len(dataset.test_prompts) == 10


def test_a_prompt_on_both_sides_is_found():
    sides = {
        "train_prompts": [RecordedPrompt("How far is it to the station?", "a", "row 1")],
        "test_prompts": [RecordedPrompt("How far is it to the station, please?", "b", "row 2")],
    }
    dataset = RewardDataset([], [], [], [], "hash", **sides)

    leaks = find_leaks(dataset)

    assert (leaks.recorded.count, leaks.recorded.row_ids) == (2, ("row 1", "row 2"))


def test_policies_write_to_judged_prompts_and_to_recorded_ones():
    dataset = RewardDataset(
        [], [], [], [], "hash",
        train_prompts=[RecordedPrompt("one", "a", "row 1"), RecordedPrompt("two", "b", "row 2")],
        test_prompts=[RecordedPrompt("three", "c", "row 3")],
    )  # fmt: skip

    data = policy_data(dataset)

    assert (list(data.train.prompts), list(data.held.prompts)) == (["one", "two"], ["three"])
    with pytest.raises(NotEnoughData, match="record more interactions"):
        policy_data(replace(dataset, test_prompts=[]))


@pytest.mark.parametrize("why", ["the person asks for it", "it was kept long enough"])
async def test_an_erased_interaction_leaves_the_snapshot(settings, insert, feedback, sessions, why):
    gone, kept = recorded("canary", subjects=["s_x"]), recorded("stays")
    await insert(gone, kept, feedback(rating=4))
    if why == "it was kept long enough":
        age = text("UPDATE rlhf_interaction_records SET created_at = now() - interval '90 days' "
                   "WHERE user_prompt = 'canary'")  # fmt: skip
        async with sessions.begin() as session:
            await session.execute(age)
    async with open_workplace(settings, settings.database_url.get_secret_value()) as workplace:
        async with sessions.begin() as session:
            frozen = await freeze_feedback(session, workplace.freezing("me", recorded_prompts=9))
        assert "canary" in workplace.store.path(frozen.uri).read_text()

        if why == "it was kept long enough":
            await expire_rows(sessions, {"rlhf_interaction_records": 30})
        else:
            async with sessions.begin() as session:
                person = Person(1, PersonKind.SUBJECT, "s_x")
                policy = ErasurePolicy(retrains=False, days=30)
                await erase_person(session, person, actor="me", policy=policy)
        assert await work_off_one(workplace)

        async with sessions() as session:
            now = await session.get_one(Dataset, frozen.id)
            held = await datasets_holding(session, [gone.seq, kept.seq])
        lines = [json.loads(one) for one in workplace.store.path(now.uri).read_text().splitlines()]
    assert [one["prompt"] for one in lines if one["kind"] == "prompt"] == ["stays"]
    assert now.rows == frozen.rows - 1
    assert held == {frozen.id: [kept.seq]}


@pytest.mark.parametrize("most", [0, 4])
async def test_a_policy_is_trained_on_recorded_prompts_alone(
    settings, insert, sessions, tmp_path, most
):
    """Nobody judged anything, and what is wanted of responses is said by a demand."""
    await insert(*(recorded(f"how do I get to place number {at}") for at in range(9)))
    base = save_tiny_policy(tmp_path / "base")
    recipe = {
        "base_model": str(base), "reward": ["length:2-4"], "min_rated": 0, "steps": 1,
        "batch_size": 2, "mini_batch_size": 2, "max_response_tokens": 4, "evaluate_prompts": 2,
        "recorded_prompts": most,
    }  # fmt: skip
    request = TrainingRequest(kind=RunKind.PPO, recipe=recipe)
    url = settings.database_url.get_secret_value()

    if most == 0:
        with pytest.raises(NotEnoughData):
            await asyncio.to_thread(train_here, settings, url, request)
        return
    finished = await asyncio.to_thread(train_here, settings, url, request)

    assert finished.version.metrics["prompts"] == 3
    async with sessions() as session:
        assert await session.scalar(select(func.count()).select_from(Dataset)) == 1
        counts = await session.scalar(select(col(Dataset.counts)))
    assert counts["prompts_train"] == 3
    assert counts["prompts_test"] == 1
