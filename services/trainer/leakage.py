"""What is wrong with a training set: held-out rows that are not held out, repeats, contradictions.

It names rows by their ids and never shows a text.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from services.trainer.clusters import asked_together, near_copies
from services.trainer.examples import (
    Entry,
    Judgement,
    PreferencePair,
    RatedAspects,
    RatedResponse,
    RatedStep,
    RewardDataset,
    TiedPair,
)
from services.trainer.near_duplicates import near_clusters
from services.trainer.splits import normalise_prompt
from shared.db.columns import Json
from shared.errors import LeakingDataset

CLEARLY_APART = 2.0  # stars between two ratings of one response that contradict each other
SHOWN = 20


@dataclass(frozen=True)
class Finding:
    """How often something was found, and up to 20 of the rows it was found in."""

    count: int
    row_ids: tuple[str, ...]


@dataclass(frozen=True)
class Leaks:
    """Held-out rows that are trained on; any of them makes a model look better than it is.

    Attributes:
        prompts: held-out prompts that are trained on as well.
        near_prompts: further held-out prompts with a near-duplicate that is trained on.
        rows: feedback rows with something on both sides.
        near_copies: held-out comparisons that are a near-copy, as a whole, of one that is trained
            on under another prompt.
        recorded: recorded prompts with a near-duplicate on the other side, recorded or judged.
    """

    prompts: Finding
    near_prompts: Finding
    rows: Finding
    near_copies: Finding
    recorded: Finding

    def __bool__(self) -> bool:
        return any(found.count for found in vars(self).values())


@dataclass(frozen=True)
class Quality:
    """What people may want to look at; none of it is wrong by itself.

    Attributes:
        responses: different held-out responses that are trained on as well, under any prompt.
        near_responses: further held-out responses with a near-duplicate that is trained on.
        contradictions: rows that prefer the opposite of what another row prefers, and responses
            and reasoning steps whose ratings lie two stars or more apart.
        repeated: judgements that the same rater, or an unknown one, made before, with the same
            texts and outcome.
    """

    responses: Finding
    near_responses: Finding
    contradictions: Finding
    repeated: Finding


def examine(dataset: RewardDataset) -> tuple[Leaks, Quality]:
    """Everything that can be found wrong with a dataset."""
    return find_leaks(dataset), _quality(dataset)


def report(leaks: Leaks, quality: Quality) -> Json:
    """What was found, for machines."""
    return {"is_leaking": bool(leaks), **asdict(leaks), **asdict(quality)}


def find_leaks(dataset: RewardDataset) -> Leaks:
    """The held-out rows of a dataset that are trained on, exactly or nearly."""
    train, test = trained_on(dataset), held_out(dataset)
    prompts, near_prompts = _on_both_sides(
        _by_text(train, lambda one: [one.prompt]), _by_text(test, lambda one: [one.prompt])
    )
    rows = {row for one in train for row in rows_of(one)}
    return Leaks(
        prompts=prompts,
        near_prompts=near_prompts,
        rows=_finding({row: {row} for one in test for row in rows_of(one) if row in rows}),
        near_copies=_copies(dataset),
        recorded=_recorded_on_both_sides(dataset),
    )


def require_no_leaks(dataset: RewardDataset) -> None:
    """Pass only a dataset whose held-out rows are held out.

    Raises:
        LeakingDataset: some are trained on; the message says how many.
    """
    if leaks := find_leaks(dataset):
        raise LeakingDataset(
            f"What is held out is also trained on: {told(leaks)}. Freeze a new dataset with "
            "`heed dataset prepare`, which keeps near-duplicates on one side."
        )


def told(leaks: Leaks) -> str:
    """The leaks as a part of a sentence."""
    names = {
        "prompts": "prompts as they are",
        "near_prompts": "prompts nearly",
        "rows": "feedback rows",
        "near_copies": "comparisons as near-copies under other prompts",
        "recorded": "recorded prompts, exactly or nearly",
    }
    counts = {name: getattr(leaks, name).count for name in names}
    return ", ".join(f"{counts[name]} {what}" for name, what in names.items() if counts[name])


def trained_on(dataset: RewardDataset) -> list[Judgement]:
    """Every judgement of the train side."""
    return [
        *dataset.train_pairs,
        *dataset.train_rated,
        *dataset.train_ties,
        *dataset.train_rankings,
        *dataset.train_steps,
        *dataset.train_aspects,
    ]


def held_out(dataset: RewardDataset) -> list[Judgement]:
    """Every judgement of the test side."""
    return [
        *dataset.test_pairs,
        *dataset.test_rated,
        *dataset.test_ties,
        *dataset.test_rankings,
        *dataset.test_steps,
        *dataset.test_aspects,
    ]


def rows_of(one: Entry) -> tuple[str, ...]:
    """The rows that an entry of a dataset was made of."""
    return one.row_ids if isinstance(one, PreferencePair) else (one.row_id,)


def responses_of(one: Judgement) -> tuple[str, ...]:
    """The responses that a judgement is about; of a reasoning step, the steps so far."""
    if isinstance(one, PreferencePair):
        return one.chosen, one.rejected
    if isinstance(one, RatedStep):
        return ("\n".join(one.steps),)
    return (one.response,) if isinstance(one, RatedResponse | RatedAspects) else one.responses


def _quality(dataset: RewardDataset) -> Quality:
    responses, near_responses = _on_both_sides(
        _by_text(trained_on(dataset), responses_of), _by_text(held_out(dataset), responses_of)
    )
    judged = [*trained_on(dataset), *held_out(dataset)]
    compared = [pair for pair in judged if isinstance(pair, PreferencePair)]
    return Quality(
        responses=responses,
        near_responses=near_responses,
        contradictions=_finding(_contradicting(compared) | _apart(judged)),
        repeated=_finding(_repeated(judged)),
    )


def _by_text(
    judgements: Iterable[Judgement], texts_of: Callable[[Judgement], Iterable[str]]
) -> dict[str, set[str]]:
    """The rows with each text, as normalised."""
    found: dict[str, set[str]] = defaultdict(set)
    for one in judgements:
        for text in texts_of(one):
            found[normalise_prompt(text)].update(rows_of(one))
    return found


def _on_both_sides(
    train: dict[str, set[str]], test: dict[str, set[str]]
) -> tuple[Finding, Finding]:
    """Held-out texts that are trained on, and further ones with a near-duplicate that is."""
    texts = list(train.keys() | test.keys())
    label = dict(zip(texts, near_clusters(texts).tolist(), strict=True))
    trained = {label[text] for text in train}
    exact = {text: rows for text, rows in test.items() if text in train}
    near = {
        text: rows for text, rows in test.items() if text not in train and label[text] in trained
    }
    return _finding(exact), _finding(near)


def _recorded_on_both_sides(dataset: RewardDataset) -> Finding:
    recorded = [*dataset.train_prompts, *dataset.test_prompts]
    judged = [*trained_on(dataset), *held_out(dataset)]
    held = {id(one) for one in (*dataset.test_prompts, *held_out(dataset))}
    found: dict[str, set[str]] = {}
    texts = [one.prompt for one in recorded], [one.prompt for one in judged]
    for places, near in asked_together(*texts):
        members: list[Entry] = [recorded[at] for at in places]
        if len({id(one) in held for one in (*members, *(judged[at] for at in near))}) > 1:
            found |= {row: {row} for one in members for row in rows_of(one)}
    return _finding(found)


def _copies(dataset: RewardDataset) -> Finding:
    is_held_out = {id(pair) for pair in dataset.test_pairs}
    found: dict[str, set[str]] = {}
    for one, other in near_copies([*dataset.train_pairs, *dataset.test_pairs]):
        if (id(one) in is_held_out) is not (id(other) in is_held_out):
            judged = one if id(one) in is_held_out else other
            found["".join(judged.row_ids)] = set(judged.row_ids)
    return _finding(found)


def _contradicting(pairs: Sequence[PreferencePair]) -> dict[str, set[str]]:
    sides: dict[tuple[bytes | str, str, str], set[str]] = defaultdict(set)
    for pair in pairs:
        if pair.source != "rating":  # ratings are compared as what they are
            sides[pair.group, pair.chosen, pair.rejected].update(pair.row_ids)
    return {
        row: {row}
        for (group, chosen, rejected), rows in sides.items()
        if (group, rejected, chosen) in sides
        for row in rows
    }


def _apart(judged: Iterable[Judgement]) -> dict[str, set[str]]:
    """Responses and steps with ratings on one scale that lie clearly apart."""
    alike: dict[tuple[str, ...], list[RatedResponse | RatedStep]] = defaultdict(list)
    for one in judged:
        if isinstance(one, RatedResponse | RatedStep):
            about = (type(one).__name__, str(one.group), one.scale, *responses_of(one))
            alike[about].append(one)
    return {
        repr(about): {one.row_id for one in them}
        for about, them in alike.items()
        if max(one.rating for one in them) - min(one.rating for one in them) >= CLEARLY_APART
    }


def _repeated(judged: Iterable[Judgement]) -> dict[str, set[str]]:
    seen: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for one in judged:
        if not isinstance(one, PreferencePair):
            seen[_as_said(one)].append(one.row_id)
        elif one.source not in ("rating", "ranking"):  # these are repeated as what they are
            seen[_as_said(one)] += one.row_ids
    return {row: {row} for rows in seen.values() for row in rows[1:]}


def _as_said(one: Judgement) -> tuple[str, ...]:
    """The kind of a judgement, who made it, its texts and its outcome."""
    texts, outcome = responses_of(one), ""
    if isinstance(one, RatedResponse | RatedStep):
        outcome = f"{one.scale} {one.rating}"
    elif isinstance(one, RatedAspects):
        outcome = repr(sorted(one.aspects.items()))
    elif isinstance(one, TiedPair):
        texts, outcome = tuple(sorted(texts)), one.outcome
    return (type(one).__name__, one.rater or "", outcome, one.prompt, *texts)


def _finding(found: dict[str, set[str]]) -> Finding:
    rows = sorted(set[str]().union(*found.values()))
    return Finding(len(found), tuple(rows[:SHOWN]))
