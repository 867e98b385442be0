"""Near-duplicates, splits by time, and files with their own split, frozen into snapshots."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from services.trainer.datasets import Evidence
from services.trainer.examples import PreferencePair, RewardDataset
from services.trainer.placing import Splitting
from services.trainer.snapshots import Freezing, freeze, freeze_feedback, load_dataset, read_lines
from services.trainer.splits import group_by_secret
from shared.contracts.values import Side
from shared.db.tables import Dataset, PromptGroup
from shared.errors import InvalidInput, LeakingDataset

LONG = (
    "Rest in bed for {} days, drink plenty of water, keep the room cool, and call the practice "
    "again when the temperature stays high after the weekend."
)
QUESTIONS = [
    "How do I renew my passport while I am travelling in Portugal?",
    "Which rivers of northern Norway are safe for beginners with a kayak?",
    "Explain the difference between a comet and an asteroid to a child.",
    "My tomato plants have yellow leaves although I water them daily.",
    "Write a toast for the wedding of two chess players.",
    "Who painted the ceiling of the opera house in Budapest?",
    "Summarise the rules of cricket in three sentences.",
    "Is it safe to mix vinegar with washing soda when cleaning an oven?",
]


async def frozen(sessions, freezing: Freezing) -> Dataset:
    async with sessions.begin() as session:
        return await freeze_feedback(session, freezing)


def by_side(dataset: RewardDataset) -> dict[str, set[str]]:
    return {
        "train": {pair.prompt for pair in dataset.train_pairs},
        "test": {pair.prompt for pair in dataset.test_pairs},
    }


def compared(prompt: str, *responses: str) -> PreferencePair:
    chosen, rejected = responses or ("Gladly.", "No.")
    group = group_by_secret(b"secret", 1)(prompt)
    return PreferencePair(prompt, chosen=chosen, rejected=rejected, group=group, row_ids=(prompt,))


async def test_near_duplicates_of_one_prompt_are_one_group_on_one_side(
    sessions, freezing, insert, preference
):
    twins = [question.replace(" the ", " ").upper() + "!" for question in QUESTIONS]
    await insert(*(preference(prompt=prompt) for prompt in [*QUESTIONS, *twins]))

    stored = await frozen(sessions, freezing)
    dataset = load_dataset(stored, freezing.store)

    groups = [{pair.group for pair in one} for one in (dataset.train_pairs, dataset.test_pairs)]
    assert [len(side) for side in groups] == [7, 1]
    assert groups[0] & groups[1] == set()
    assert stored.filters["split"]["near_duplicates"] == stored.filters["split"]["prompts"] - 8 > 4


async def test_a_prompt_between_two_sides_takes_its_held_out_twin_out_of_the_test(
    sessions, freezing, insert, preference
):
    """The first and the last have too little in common; the bridge is near to both."""
    first = "alpha bravo charlie delta echo foxtrot golf hotel"
    last = "charlie delta echo foxtrot golf hotel india juliet"
    await insert(preference(prompt=first), preference(prompt=last))
    before = by_side(load_dataset(await frozen(sessions, freezing), freezing.store))
    await insert(preference(prompt="bravo charlie delta echo foxtrot golf hotel india"))

    stored = await frozen(sessions, freezing)

    after = by_side(load_dataset(stored, freezing.store))
    assert [len(prompts) for prompts in before.values()] == [1, 1]
    assert after["train"] == before["train"] | {"bravo charlie delta echo foxtrot golf hotel india"}
    assert after["test"] == set()
    aside = [line for line in read_lines(stored, freezing.store) if line["split"] == "aside"]
    assert {line["prompt"] for line in aside} == before["test"]
    assert stored.rows == 3
    assert (stored.filters["split"]["kept_aside"], stored.counts["pairs_aside"]) == (1, 1)


async def test_copies_of_a_comparison_under_different_prompts_stay_together(sessions, freezing):
    pairs = [
        compared(question, LONG.format(at), LONG.format(at).replace("days", "entire weeks"))
        for at in (3,)
        for question in ("What helps?", "Advice, please!")
    ]
    evidence = Evidence(pairs=[*pairs, *map(compared, QUESTIONS)])

    async with sessions.begin() as session:
        dataset = load_dataset(
            await freeze(session, freezing, evidence, name="copies"), freezing.store
        )

    together = {
        pair.group
        for pair in [*dataset.train_pairs, *dataset.test_pairs]
        if "temperature" in pair.chosen
    }
    assert len(together) == 1


async def test_a_file_that_splits_near_duplicates_is_refused_unless_somebody_says_why(
    sessions, freezing
):
    twin = QUESTIONS[0].replace("my", "a")
    pairs = list(map(compared, [*QUESTIONS, twin]))
    proposed = {pair.group: Side.TRAIN for pair in pairs} | {pairs[-1].group: Side.TEST}
    knowing = Splitting(0.2, allow_near_duplicates="a fixed public benchmark")

    with pytest.raises(LeakingDataset, match="1 of the 1 held-out prompts"):
        async with sessions.begin() as session:
            await freeze(session, freezing, Evidence(pairs=pairs), name="f", proposed=proposed)
    async with sessions.begin() as session:
        stored = await freeze(
            session,
            replace(freezing, splitting=knowing),
            Evidence(pairs=pairs),
            name="f",
            proposed=proposed,
        )

    assert by_side(load_dataset(stored, freezing.store))["test"] == {twin}
    facts = stored.filters["split"]
    assert (facts["leaking"], facts["allowed_because"]) == (1, "a fixed public benchmark")


@pytest.mark.parametrize(
    "wanted", [{"test_after": datetime(2026, 3, 5, tzinfo=UTC)}, {"test_newest": 0.4}]
)
async def test_a_split_by_time_holds_out_the_newest_prompts(
    sessions, freezing, insert, preference, wanted
):
    start = datetime(2026, 3, 1, tzinfo=UTC)
    await insert(
        *(
            preference(prompt=prompt, timestamp=start + timedelta(days=day))
            for day, prompt in enumerate(QUESTIONS)
        ),
        preference(prompt=QUESTIONS[0], timestamp=start + timedelta(days=90)),
    )
    freezing = replace(freezing, splitting=Splitting(0.2, **wanted))

    stored = await frozen(sessions, freezing)

    assert by_side(load_dataset(stored, freezing.store))["test"] == set(QUESTIONS[5:])
    assert stored.filters["split"]["by"] == "time"


async def test_what_was_held_out_before_is_never_trained_on_by_a_split_by_time(
    sessions, freezing, insert, preference
):
    await insert(*(preference(prompt=prompt) for prompt in QUESTIONS))
    held_out = by_side(load_dataset(await frozen(sessions, freezing), freezing.store))["test"]
    late, newest = datetime(2100, 1, 1, tzinfo=UTC), "What grows in a desert after the rain?"
    await insert(preference(prompt=newest, timestamp=late))
    later = Splitting(0.2, test_after=late - timedelta(days=1))

    stored = await frozen(sessions, replace(freezing, splitting=later))

    sides = by_side(load_dataset(stored, freezing.store))
    assert sides == {"train": set(QUESTIONS) - held_out, "test": {newest}}
    assert stored.counts["pairs_aside"] == len(held_out) > 0


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"test_after": datetime(2020, 1, 1, tzinfo=UTC)}, "Every prompt is held out"),
        ({"test_after": datetime(2100, 1, 1, tzinfo=UTC)}, "No prompt that may be held out"),
        ({"test_newest": 0.4}, "No prompt that may be held out"),
        ({"test_newest": 0.4, "test_after": datetime(2100, 1, 1, tzinfo=UTC)}, "either"),
    ],
)
async def test_a_split_by_time_with_an_empty_side_is_refused_before_it_is_for_good(
    sessions, freezing, insert, preference, *, wanted, why
):
    imported = datetime(2026, 3, 1, tzinfo=UTC)
    await insert(*(preference(prompt=prompt, timestamp=imported) for prompt in QUESTIONS))

    with pytest.raises(InvalidInput, match=why):
        await frozen(sessions, replace(freezing, splitting=Splitting(0.2, **wanted)))
    stored = await frozen(sessions, freezing)

    assert (stored.counts["pairs_train"], stored.counts["pairs_test"]) == (6, 2)


async def test_a_file_that_holds_everything_out_is_refused_before_it_is_for_good(
    sessions, freezing
):
    pairs = list(map(compared, QUESTIONS))
    proposed = {pair.group: Side.TEST for pair in pairs}

    with pytest.raises(InvalidInput, match="Every prompt is held out"):
        async with sessions.begin() as session:
            await freeze(session, freezing, Evidence(pairs=pairs), name="f", proposed=proposed)

    async with sessions() as session:
        assert (await session.scalars(select(PromptGroup))).all() == []


async def test_a_file_without_times_cannot_be_split_by_time(sessions, freezing):
    freezing = replace(freezing, splitting=Splitting(0.2, test_newest=0.2))

    with pytest.raises(InvalidInput, match="--test-newest"):
        async with sessions.begin() as session:
            await freeze(
                session, freezing, Evidence(pairs=list(map(compared, QUESTIONS))), name="f"
            )
