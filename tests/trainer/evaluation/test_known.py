"""Prompts that a model was trained on are found again, as they are and nearly."""

import pytest

from services.trainer.evaluation.known import known_nearly, learned_prompts
from services.trainer.snapshots import freeze_feedback
from shared.errors import ArtifactError

RIVERS = "Which three rivers flow through the oldest towns of the northern plain?"


def test_a_prompt_with_a_word_added_or_other_case_is_nearly_known_and_another_is_not():
    learned = {RIVERS.casefold(), "how long does bread keep?"}

    found = known_nearly(
        [
            RIVERS.upper(),
            "Which three rivers flow through all the oldest towns of the northern plain?",
            "Which three mountains did the first climbers of the southern range name?",
        ],
        learned,
    )

    assert found == [True, True, False]


def test_another_number_makes_another_short_question():
    assert known_nearly(["What is 17 + 6?"], {"what is 17 + 5?"}) == [False]


def test_nothing_is_known_where_nothing_was_learned():
    assert known_nearly([RIVERS, RIVERS], set()) == [False, False]


async def test_the_training_side_of_a_models_dataset_is_read_also_after_an_erasure_rewrote_it(
    sessions, freezing, insert, feedback
):
    await insert(*(feedback(rating=3, user_query=f"What is {at * 7}?") for at in range(10)))
    async with sessions.begin() as session:
        dataset = await freeze_feedback(session, freezing)
        dataset.previous_sha256 = ["f" * 64]

    async with sessions() as session:
        now = await learned_prompts(session, freezing.store, dataset.sha256)
        before = await learned_prompts(session, freezing.store, "f" * 64)
        unknown = await learned_prompts(session, freezing.store, "0" * 64)

    assert now == before
    assert now is not None
    assert len(now) == dataset.counts["rated_train"] < 10
    assert all(prompt.startswith("what is") for prompt in now)
    assert unknown is None


async def test_a_dataset_whose_file_is_gone_is_told_of(sessions, freezing, insert, feedback):
    await insert(feedback(rating=3), feedback(rating=2))
    async with sessions.begin() as session:
        dataset = await freeze_feedback(session, freezing)
    freezing.store.remove(dataset.uri)

    async with sessions() as session:
        with pytest.raises(ArtifactError):
            await learned_prompts(session, freezing.store, dataset.sha256)
