"""Held-out rows scored again with something changed that should, or should not, matter.

Where many rows are held out, controls score a sample of them, drawn by seed: each changed text has
to go through the encoder once more.
"""

from collections.abc import Callable

import numpy as np

from services.trainer.audit.held_out import Compared, Rated, Rewards, drawn
from services.trainer.audit.intervals import correlated, mean_difference, share
from services.trainer.groups import Groups
from services.trainer.heads import Floats, Indices
from services.trainer.reward_metrics import hits
from shared.contracts.audit import Change, Estimate, PromptControl, RatingControl, TemplateChange
from shared.ml.scorer import Pair

FEWEST = 20
CONTROL_ROWS = 300
TEMPLATE_ROWS = 100


def audit_prompt(compared: Compared, rewards: Rewards, *, seed: int) -> PromptControl | None:
    """What prompts contribute; None with too few comparisons, or all on one prompt."""
    some = compared.take(drawn(len(compared), CONTROL_ROWS, seed=seed))
    others = _of_others(some.groups, seed=seed)
    if len(some) < FEWEST or others is None:
        return None
    sides = [pair.sides for pair in some.pairs]
    foreign = [sides[at][0] for at in others]
    empty = _margins(sides, rewards, lambda _: "")
    other = hits(_margins(sides, rewards, lambda at: foreign[at].prompt))
    instead = [
        Pair(chosen.prompt, theirs.response)
        for (chosen, _), theirs in zip(sides, foreign, strict=True)
    ]
    return PromptControl(
        pairs=len(some),
        accuracy=share(some.hits, some.groups),
        empty_prompt=share(hits(empty), some.groups),
        other_prompt=share(other, some.groups),
        from_prompt=mean_difference(some.hits - other, some.groups),
        own_response_wins=share(hits(some.chosen - rewards.of(instead)), some.groups),
    )


def audit_mixed_ratings(rated: Rated, rewards: Rewards, *, seed: int) -> RatingControl | None:
    """How rewards follow ratings with another row's prompt or response; None with too few."""
    rows = drawn(len(rated), CONTROL_ROWS, seed=seed)
    some, groups = [rated.rows[at] for at in rows], [rated.groups[at] for at in rows]
    others = _of_others(groups, seed=seed)
    if len(some) < FEWEST or others is None:
        return None
    foreign = [some[at] for at in others]
    mixed = zip(some, foreign, strict=True)
    pairs = [(Pair(b.prompt, a.response), Pair(a.prompt, b.response)) for a, b in mixed]
    stars = rated.stars[rows]
    own = correlated(rated.scores.reward[rows], stars, groups, seed=seed)
    if own is None:
        return None
    by_prompt, by_response = (
        _or_zero(correlated(rewards.of([pair[at] for pair in pairs]), stars, groups, seed=seed))
        for at in (0, 1)
    )
    return RatingControl(rows=len(some), r=own, other_prompt=by_prompt, other_response=by_response)


def audit_template(compared: Compared, rewards: Rewards, *, seed: int) -> list[TemplateChange]:
    """What harmless changes of one response do to its reward and to the order of the two."""
    some = compared.take(drawn(len(compared), TEMPLATE_ROWS, seed=seed))
    spread = float(np.concatenate([some.chosen, some.rejected]).std()) if len(some) else 0.0
    if len(some) < FEWEST or spread == 0:
        return []
    return [_template(name, alter, some, rewards, spread) for name, alter in _CHANGES.items()]


def _template(
    name: Change, alter: Callable[[str], str], some: Compared, rewards: Rewards, spread: float
) -> TemplateChange:
    """Each response of each comparison is changed once, while the other stays as it is."""
    sides = [side for pair in some.pairs for side in pair.sides]
    changed = rewards.of([Pair(side.prompt, alter(side.response)) for side in sides])
    chosen, rejected = changed[0::2], changed[1::2]
    shifts = np.abs(np.concatenate([chosen - some.chosen, rejected - some.rejected])) / spread
    before = np.sign(some.margins)
    turned = [
        (np.sign(margins) != before).astype(np.float64)
        for margins in (chosen - some.rejected, some.chosen - rejected)
    ]
    return TemplateChange(
        change=name,
        pairs=len(some),
        mean_shift=float(shifts.mean()),
        largest_shift=float(shifts.max()),
        flips=share(np.concatenate(turned), [*some.groups, *some.groups]),
    )


def _turn_first_case(text: str) -> str:
    return text[:1].swapcase() + text[1:]


def _turn_final_mark(text: str) -> str:
    stripped = text.rstrip()
    return stripped[:-1] if stripped.endswith((".", "!", "?")) else f"{stripped}."


_CHANGES: dict[Change, Callable[[str], str]] = {
    "trailing_space": lambda text: f"{text} ",
    "trailing_newline": lambda text: f"{text}\n",
    "first_letter_case": _turn_first_case,
    "final_punctuation": _turn_final_mark,
}


def _margins(
    sides: list[tuple[Pair, Pair]], rewards: Rewards, prompt_of: Callable[[int], str]
) -> Floats:
    """Margins when the prompt of comparison `at` is `prompt_of(at)`."""
    changed = [Pair(prompt_of(at), side.response) for at, both in enumerate(sides) for side in both]
    scored = rewards.of(changed)
    return np.asarray(scored[0::2] - scored[1::2])


def _of_others(groups: Groups, *, seed: int) -> Indices | None:
    """For each row a row of another group, drawn by seed; None when there is only one group."""
    if len(set(groups)) < 2:
        return None
    order = np.random.default_rng(seed).permutation(len(groups))
    others = np.empty(len(groups), dtype=np.int64)
    for place, row in enumerate(order):
        ahead = np.roll(order, -place)
        others[row] = next(at for at in ahead if groups[at] != groups[row])
    return others


def _or_zero(found: Estimate | None) -> Estimate:
    """Constant rewards follow nothing."""
    return found or Estimate(value=0.0, low=0.0, high=0.0)
