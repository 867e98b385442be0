"""What a fine-tuned model can say of its own scores, from prompts that changed none of its weights.

The layers below the last one have learned from most of the judgements, so that what is fitted on
their vectors cannot be cross-validated over all of them: the prompts that were held back choose
penalties, and say how well aspects are predicted.

Legend: n items, h = width of the vector that the last layer reads.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from services.trainer.aspects import fit_aspects
from services.trainer.audit.learning import part_of
from services.trainer.calibration import fit_calibration
from services.trainer.dense_head import fit_dense
from services.trainer.domain import fit_domain
from services.trainer.evidence import Items
from services.trainer.examples import RewardDataset
from services.trainer.groups import numbered
from services.trainer.heads import Floats, Indices
from services.trainer.likelihood.terms import level_of
from services.trainer.reward_metrics import Metrics
from services.trainer.self_knowledge import fit_interval
from services.trainer.transformer.judgements import HeldBack, Judgement, Kind
from services.trainer.uncertainty import fit_posterior, judged_items
from shared.contracts.audit import CALIBRATED_ON, CalibratedOn
from shared.contracts.manifest import Calibration, Domain
from shared.ml.domain import DomainModel
from shared.ml.head import RewardHead
from shared.ml.last_layer import VECTOR, LastLayer, as_embedded
from shared.ml.posterior import Posterior
from shared.ml.scorer import Pair
from shared.ml.transformer_scorer import TransformerScorer

MOST_READ = 4000  # responses that changed weights; more would take longer than they tell

_Rewards = Mapping[Pair, float]


@dataclass(frozen=True)
class SelfKnowledge:
    """Fields for the manifest, what is stored beside the weights, and what was measured."""

    fields: Mapping[str, object]
    last_layer: LastLayer | None
    report: Metrics

    @property
    def files(self) -> dict[str, bytes]:
        """The files of an artifact that hold it, by name."""
        return self.last_layer.files() if self.last_layer else {}


@dataclass(frozen=True)
class Learned:
    """What a model was trained with.

    Attributes:
        dataset: whose train side it knows.
        kept: judgements that changed weights.
        held: judgements that did not.
        collect: items and evidence of a part of the dataset.
    """

    dataset: RewardDataset
    kept: Sequence[Judgement]
    held: HeldBack
    collect: Callable[[RewardDataset], Items]


def know_itself(
    scorer: TransformerScorer,
    head: RewardHead | None,
    learned: Learned,
    *,
    good_rating: float,
    seed: int,
) -> SelfKnowledge:
    """Calibration and interval and, of a model with a single last layer, all else it can tell.

    Args:
        scorer: the finished model.
        head: its last layer; None when it has no single one.
        learned: what it was trained with.
        good_rating: a rating counts as good from here on.
        seed: of what is drawn.
    """
    if head is None:
        items = list(learned.held.groups)
        rewards = dict(zip(items, scorer.score(items).reward.tolist(), strict=True))
        fields = _meaning(rewards, learned, good_rating=good_rating, seed=seed)
        return SelfKnowledge(fields, None, _calibrated_on(learned.held))
    read = _read(scorer, learned, seed=seed)
    domain, usual = _fit_domain(read, seed) or (None, None)
    aspects, report = _fit_aspects(read, seed)
    known = LastLayer(
        usual, _fit_posterior(read, seed), replace(head, aspects=aspects) if aspects else None
    )
    fields = _meaning(read.reward_of, learned, good_rating=good_rating, seed=seed)
    fields |= {"domain": domain, "aspects": tuple(aspects)}
    return SelfKnowledge(fields, known, report | _calibrated_on(learned.held))


@dataclass(frozen=True)
class _Read:
    """n responses as the finished model reads them.

    Attributes:
        texts: the responses, those of `items` first.
        items: of what was held back and at most `MOST_READ` responses of the rest.
        share: of the rest, how much that is, 0-1.
        groups: of what was held back, by response.
        rewards: shape (n,).
        vectors: shape (n, h).
    """

    texts: Sequence[Pair]
    items: Items
    share: float
    groups: Mapping[Pair, bytes | str]
    rewards: Floats
    vectors: NDArray[np.float32]

    @property
    def reward_of(self) -> dict[Pair, float]:
        """The rewards by response."""
        return dict(zip(self.texts, self.rewards.tolist(), strict=True))

    @property
    def held(self) -> Indices:
        """The groups of `items` that were held back."""
        is_held = [text in self.groups for text in self.items.pairs]
        return np.unique(self.items.groups[is_held])


def _read(scorer: TransformerScorer, learned: Learned, *, seed: int) -> _Read:
    groups = learned.held.groups
    drawn, share = _drawn_groups(learned, seed)
    items = learned.collect(part_of(learned.dataset, drawn | set(groups.values())))
    texts = list(dict.fromkeys([*items.pairs, *groups]))
    return _Read(texts, items, share, groups, *scorer.rewards_and_vectors(texts))


def _drawn_groups(learned: Learned, seed: int) -> tuple[set[bytes | str], float]:
    """Prompt groups of what changed weights, with few enough responses, and their share."""
    sizes: Counter[bytes | str] = Counter()
    for said in learned.kept:
        sizes[said.group] += len(said.items)
    held = set(learned.held.groups.values())
    sizes.update(one.group for one in learned.dataset.train_aspects if one.group not in held)
    groups = sorted(sizes, key=str)
    order = [groups[at] for at in np.random.default_rng(seed).permutation(len(groups))]
    reached = np.cumsum([sizes[group] for group in order])
    count = max(1, int(np.searchsorted(reached, MOST_READ, side="right")))
    return set(order[:count]), count / len(order)


def _fit_domain(read: _Read, seed: int) -> tuple[Domain, DomainModel] | None:
    rows = [at for at, text in enumerate(read.texts) if text in read.groups]
    groups = numbered([read.groups[read.texts[at]] for at in rows])
    return fit_domain(as_embedded(read.vectors[rows]), groups, ("response",), seed=seed)


def _fit_aspects(read: _Read, seed: int) -> tuple[dict[str, Floats], Metrics]:
    rows = read.vectors[: len(read.items.pairs)].astype(np.float64)
    return fit_aspects(rows, read.items, {VECTOR[0]: rows.shape[1]}, seed=seed, held=read.held)


def _fit_posterior(read: _Read, seed: int) -> Posterior:
    """How unsure the last layer is: of the judgements that changed it, under the penalty it needs.

    The penalty is the one of a last layer fitted again, since fine-tuning itself has none.
    """
    count, evidence = read.items.overall, read.items.evidence
    rows = read.vectors[:count].astype(np.float64)
    prior = fit_dense(
        rows, evidence, read.items.groups[:count], {VECTOR[0]: rows.shape[1]},
        seed=seed, held=read.held,
    ).prior  # fmt: skip
    kept = np.flatnonzero(~np.isin(evidence.group, read.held))
    judged = judged_items(evidence.take(kept), count)
    whole = replace(judged, weight=judged.weight / read.share)
    return fit_posterior(rows, whole, read.rewards[:count], prior)


def _meaning(
    rewards: _Rewards, learned: Learned, *, good_rating: float, seed: int
) -> dict[str, object]:
    """What a reward means: a probability, and an interval for one more judgement."""
    said = learned.held.calibrating
    own = {item: rewards[item] for one in said for item in one.items}
    calibration = calibrate(own, said, good_rating=good_rating)
    conformal = fit_interval(learned.dataset, own, calibration, good_rating=good_rating, seed=seed)
    return {"calibration": calibration, "conformal": conformal}


def _calibrated_on(held: HeldBack) -> Metrics:
    on: CalibratedOn = "own_prompts" if held.is_parted else "choosing_prompts"
    return {CALIBRATED_ON: on, "calibrated_prompts": len({one.group for one in held.calibrating})}


def calibrate(rewards: _Rewards, held: Sequence[Judgement], *, good_rating: float) -> Calibration:
    """Platt on held-back judgements."""
    found = list(_good_or_not(held, good_rating))
    if not found:
        return Calibration(slope=1.0, intercept=0.0, method="none")
    return fit_calibration(
        np.array([rewards[item] for item, _ in found]),
        np.array([float(is_good) for _, is_good in found]),
    )


def _good_or_not(held: Sequence[Judgement], good_rating: float) -> Iterator[tuple[Pair, bool]]:
    """Responses that were called good or not, as `calibration.good_labels` has it.

    A rated one is good from `good_rating` on, an unrated one in each comparison that it won.
    """
    rated = {one.items[0] for one in held if one.kind == Kind.RATING}
    for one in held:
        if one.kind == Kind.RATING:
            yield one.items[0], one.level >= max(level_of(good_rating, one.scale), 1)
        elif one.kind in (Kind.WIN, Kind.RANKING):
            for sides in combinations(one.items, 2):
                for item, is_good in zip(sides, (True, False), strict=True):
                    if item not in rated:
                        yield item, is_good
