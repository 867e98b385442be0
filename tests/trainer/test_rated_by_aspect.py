"""Posts that rate aspects and not the whole: lines of their own, for the heads of aspects alone."""

import pytest
from sqlalchemy import func, select

from services.feedback_api.erasure import ErasurePolicy, Person, erase_person
from services.trainer.erasure_jobs import work_off_one
from services.trainer.examples import RatedAspects, RewardDataset, require_judged
from services.trainer.leakage import examine
from services.trainer.snapshots import freeze_feedback, load_dataset
from services.trainer.workplace import open_workplace
from shared.contracts.values import PersonKind
from shared.db.tables import Dataset, Feedback
from shared.errors import NotEnoughData

TONE = {"tone": 4.0}


def by_aspect(name: str, prompt: str, **given: object) -> RatedAspects:
    values = {"response": name, "aspects": TONE, "group": prompt, "row_id": name}
    return RatedAspects(prompt=prompt, **values | given)


def dataset_of(train: list[RatedAspects], test: list[RatedAspects]) -> RewardDataset:
    return RewardDataset([], [], [], [], "hash", train_aspects=train, test_aspects=test)


async def test_they_are_frozen_with_consent_only_and_count_as_no_rating(
    sessions, freezing, insert, feedback
):
    await insert(
        feedback(aspects=TONE, agent_response="alone"),
        feedback(aspects=TONE, rating=5, agent_response="beside"),
        feedback(aspects=TONE, consent_training=False, agent_response="refused"),
        feedback(aspects={}, agent_response="nothing said"),
    )

    async with sessions.begin() as session:
        frozen = await freeze_feedback(session, freezing)

    dataset = load_dataset(frozen, freezing.store)
    found = [*dataset.train_aspects, *dataset.test_aspects]
    assert [(one.response, one.aspects) for one in found] == [("alone", TONE)]
    assert [(one.response, one.aspects) for one in dataset.rated] == [("beside", TONE)]
    assert frozen.rows == 2
    assert frozen.counts["aspects_train"] + frozen.counts["aspects_test"] == 1
    assert frozen.counts["rated_train"] + frozen.counts["rated_test"] == dataset.judged == 1
    async with sessions() as session:
        processed = select(func.count()).where(Feedback.processed)
        assert await session.scalar(processed) == 2


async def test_a_prompt_that_is_held_out_is_held_out_for_aspects_too(
    sessions, freezing, insert, feedback
):
    prompts = [f"What is the {name} for?" for name in ("tea", "salt", "bridge", "poem", "rain")]
    await insert(
        *(feedback(rating=3, user_query=prompt) for prompt in prompts),
        *(feedback(aspects=TONE, user_query=prompt.upper()) for prompt in prompts),
    )

    async with sessions.begin() as session:
        dataset = load_dataset(await freeze_feedback(session, freezing), freezing.store)

    assert {one.prompt.upper() for one in dataset.test_rated} == {
        one.prompt for one in dataset.test_aspects
    }
    assert len(dataset.train_aspects) == 4


async def test_an_erasure_takes_their_lines_out(settings, insert, feedback):
    await insert(
        feedback(clinician_id="r_a", aspects=TONE, agent_response="canary"),
        feedback(clinician_id="r_b", aspects=TONE, agent_response="stays"),
    )
    url = settings.database_url.get_secret_value()
    async with open_workplace(settings, url) as workplace:
        async with workplace.sessions.begin() as session:
            old = await freeze_feedback(session, workplace.freezing("me"))
            person = Person(1, PersonKind.RATER, "r_a")
            await erase_person(
                session, person, actor="me", policy=ErasurePolicy(retrains=False, days=30)
            )
        assert await work_off_one(workplace)

        async with workplace.sessions() as session:
            new = await session.get_one(Dataset, old.id)
        dataset = load_dataset(new, workplace.store)
    found = [*dataset.train_aspects, *dataset.test_aspects]
    assert [one.response for one in found] == ["stays"]
    assert new.counts["aspects_train"] + new.counts["aspects_test"] == 1


def test_a_held_out_prompt_that_is_trained_on_by_aspect_is_a_leak():
    train = [by_aspect("a", "Why is the sky over the wide sea so blue?")]

    exact, _ = examine(dataset_of(train, [by_aspect("b", train[0].prompt)]))
    near, _ = examine(dataset_of(train, [by_aspect("b", "Why is the sky over the sea so blue?")]))

    assert (exact.prompts.count, exact.near_prompts.count) == (1, 0)
    assert (near.prompts.count, near.near_prompts.count) == (0, 1)


def test_saying_the_same_of_an_aspect_again_is_a_repeat_and_another_number_is_none():
    said = [by_aspect("a", "Why?", rater="ann", row_id=row) for row in ("1", "2")]
    other = by_aspect("a", "Why?", rater="ann", row_id="3", aspects={"tone": 1.0})

    _, quality = examine(dataset_of([*said, other], []))

    assert quality.repeated.row_ids == ("2",)
    assert quality.contradictions.count == 0


def test_they_do_not_make_up_for_missing_judgements():
    with pytest.raises(NotEnoughData, match="there are 0"):
        require_judged(dataset_of([by_aspect(f"{at}", "Why?") for at in range(60)], []))
