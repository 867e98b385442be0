"""The gate at work: a stored candidate against the live model, or the first one's baselines."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np

from services.trainer.baselines import fitted_length_margins
from services.trainer.config import TrainerSettings
from services.trainer.examples import (
    PreferencePair,
    RatedResponse,
    RewardDataset,
    Scale,
    slices_in_common,
)
from services.trainer.gates import AbsoluteGates, Comparison, audit_warnings, compare, gate_report
from services.trainer.process import rated_steps
from services.trainer.reward_metrics import Metrics, pair_margins
from services.trainer.slice_gates import judge_slices
from shared.db.columns import Json
from shared.errors import ArtifactError
from shared.ml.artifact import load_scorer
from shared.ml.scorer import Pair, Scorer

# With fewer held-out comparisons than this, held-out ratings are compared across prompts instead.
FEWEST_PAIRS = 20

_Ratings = Sequence[RatedResponse]  # of one response


@dataclass(frozen=True)
class MatchedRatings(PreferencePair):
    """A well and a badly rated response to two different prompts, as one comparison."""

    rejected_prompt: str = ""

    @property
    def sides(self) -> tuple[Pair, Pair]:
        """The better and the worse rated response, each with its own prompt."""
        return Pair(self.prompt, self.chosen), Pair(self.rejected_prompt, self.rejected)


def judge(
    candidate: Path,
    champion: Path | None,
    dataset: RewardDataset,
    *,
    metrics: Metrics,
    settings: TrainerSettings,
    secret: bytes,
    split: Json | None = None,
) -> Json:
    """The gate's report on a candidate's artifact folder; see `gate_report`.

    Without a live model the candidate must beat a fitted length-only reward and a constant. A
    live model that cannot be loaded leaves the question open: a person has to decide. `split`
    says how the dataset was split, for the report.

    Raises:
        ArtifactError: the candidate itself cannot be loaded.
    """
    pairs = held_out_comparisons(dataset)
    report = partial(
        gate_report, policy=settings.gate, warnings=audit_warnings(metrics), split=split
    )
    if not pairs:
        return report([], ["nothing is held out that it could be judged on"])
    own = pair_margins(load_scorer(candidate, secret=secret), pairs)
    failures = AbsoluteGates(
        settings.gate_min_correlation, settings.gate_max_mse, settings.gate_min_accuracy
    ).failures(metrics)
    try:
        opponents = _opponents(champion, dataset, pairs, secret)
    except ArtifactError as error:
        return report([], [*failures, f"the live model cannot be loaded: {error.detail}"])
    floor = settings.gate_slice_min_accuracy
    slices = judge_slices(
        own,
        opponents.get("champion"),
        pairs,
        fewest=settings.gate_slice_min_pairs,
        floor=floor,
    )
    return report(
        [_compared(own, other, pairs, name, settings) for name, other in opponents.items()],
        [*failures, *(why for one in slices for why in one.failures(floor))],
        slices=[one.to_json() for one in slices],
    )


def held_out_comparisons(dataset: RewardDataset) -> Sequence[PreferencePair]:
    """The held-out comparisons, or held-out ratings matched across prompts where they are few.

    Where only reasoning steps were rated, their ratings are matched.
    """
    if len(dataset.test_pairs) >= FEWEST_PAIRS:
        return dataset.test_pairs
    rated = dataset.test_rated or rated_steps(dataset.test_steps)
    return matched_ratings(rated) or dataset.test_pairs


def matched_ratings(rated: Sequence[RatedResponse]) -> list[PreferencePair]:
    """Well rated responses with badly rated ones to other prompts, each used at most once.

    Each well rated prompt is matched with one that is badly rated on the same scale, and then their
    responses: so no prompt is in two groups. A response that several people rated counts once, with
    the mean of their ratings.
    """
    prompts: dict[Scale, dict[bytes | str, dict[tuple[str, str], list[RatedResponse]]]] = {}
    for one in rated:
        responses = prompts.setdefault(one.scale, {}).setdefault(one.group, {})
        responses.setdefault((one.prompt, one.response), []).append(one)
    return [
        pair
        for of_scale in prompts.values()
        for pair in _matched([list(responses.values()) for responses in of_scale.values()])
    ]


def _matched(prompts: Sequence[Sequence[_Ratings]]) -> Iterator[MatchedRatings]:
    """Responses to the prompts of the upper half by rating with those of the lower half."""
    ranked = sorted(
        prompts, key=lambda those: (fmean(map(_mean, those)), len(those), str(those[0][0].group))
    )
    half = len(ranked) // 2
    for worse, better in zip(ranked[:half], ranked[len(ranked) - half :], strict=True):
        best_first, worst_first = sorted(better, key=_rank, reverse=True), sorted(worse, key=_rank)
        for one, other in zip(best_first, worst_first, strict=False):
            if _mean(one) != _mean(other):
                both = (one, other) if _mean(one) > _mean(other) else (other, one)
                yield _as_comparison(*both, group=better[0][0].group)


def _as_comparison(better: _Ratings, worse: _Ratings, *, group: bytes | str) -> MatchedRatings:
    ratings = [*better, *worse]
    return MatchedRatings(
        better[0].prompt,
        chosen=better[0].response,
        rejected=worse[0].response,
        group=group,
        source="rating",
        row_ids=tuple(one.row_id for one in ratings),
        slices=slices_in_common(one.slices for one in ratings),
        rejected_prompt=worse[0].prompt,
    )


def _mean(ratings: _Ratings) -> float:
    return fmean(one.rating for one in ratings)


def _rank(ratings: _Ratings) -> tuple[float, str]:
    return _mean(ratings), min(one.row_id for one in ratings)


def _opponents(
    champion: Path | None, dataset: RewardDataset, pairs: Sequence[PreferencePair], secret: bytes
) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    if champion is not None:
        scorer: Scorer = load_scorer(champion, secret=secret)
        return {"champion": pair_margins(scorer, pairs)}
    length = fitted_length_margins(dataset.train_pairs, dataset.train_rated, pairs)
    return {"length_only": length, "constant": np.zeros(len(pairs))}


def _compared(
    own: np.ndarray[tuple[int], np.dtype[np.float64]],
    other: np.ndarray[tuple[int], np.dtype[np.float64]],
    pairs: Sequence[PreferencePair],
    opponent: str,
    settings: TrainerSettings,
) -> Comparison:
    groups = [pair.group for pair in pairs]
    return compare(own, other, groups, opponent=opponent, margin=settings.gate_margin)
