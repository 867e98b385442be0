"""A second reward model from the feedback that was held out: it judges, and never teaches.

Training reward and gold reward learned from different prompts and people's words on them. What a
policy gains from mistakes of the one it does not gain from the other.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from services.trainer.audit.intervals import share
from services.trainer.backbones import resolve_backbone
from services.trainer.engines import open_for_fitting
from services.trainer.evidence import collect_items
from services.trainer.examples import PreferencePair, RewardDataset, require_judged
from services.trainer.judging import held_out_comparisons
from services.trainer.policies.constraints import Judge
from services.trainer.recipes.embedding_reward import EmbeddingParams, train_embedding_reward
from services.trainer.reward_metrics import hits
from shared.contracts.manifest import Truncation
from shared.errors import NotEnoughData
from shared.ml.scorer import Pair, PairReader

_CHANCE = 0.5
_AT_ONCE = 256


def gold_model(dataset: RewardDataset, *, seed: int) -> Judge | None:
    """Judges responses by what people said of held-out prompts alone.

    None where too little is held out, or where it learned nothing: judged on prompts that it did
    not learn from itself, it has to agree with people surely more often than chance, or else its
    silence would look like an alarm.
    """
    held = _held_out(dataset)
    params = EmbeddingParams(seed=seed, weigh_raters=False)
    try:
        require_judged(held)
        source = resolve_backbone(params.base_model)
        encoder, _ = open_for_fitting(source.folder, [], engine="fp32", threads=params.threads)
        fitted = train_embedding_reward(held, params, encoder, progress=_quietly)
        items = collect_items(
            held.train_pairs, held.train_rated, held.train_ties, held.train_rankings,
            weights=params.weights, ratings_as=params.ratings_as,
        )  # fmt: skip
    except NotEnoughData:
        return None
    known = dict(zip(items.pairs, fitted.rewards.tolist(), strict=False))
    if not _knows(known, held_out_comparisons(dataset)):
        return None
    window = Truncation(
        prompt_tokens=min(params.prompt_tokens, encoder.max_tokens),
        response_tokens=min(params.response_tokens, encoder.max_tokens),
    )
    reader = PairReader(encoder, window, separator=None)

    def judge(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        pairs = [Pair(*both) for both in zip(prompts, responses, strict=True)]
        rewards: list[float] = []
        for start in range(0, len(pairs), _AT_ONCE):
            embedded = reader.read(pairs[start : start + _AT_ONCE]).embedded
            rewards += fitted.head.rewards(embedded).tolist()
        return rewards

    return judge


def _held_out(dataset: RewardDataset) -> RewardDataset:
    """The held-out side as something to learn from."""
    return replace(
        dataset,
        train_pairs=dataset.test_pairs, train_rated=dataset.test_rated,
        train_ties=dataset.test_ties, train_rankings=dataset.test_rankings,
        train_steps=(), train_aspects=(), test_pairs=(), test_rated=(), test_ties=(),
        test_rankings=(), test_steps=(), test_aspects=(),
    )  # fmt: skip


def _knows(rewards: dict[Pair, float], pairs: Sequence[PreferencePair]) -> bool:
    """Whether out-of-fold rewards agree with people surely more often than chance."""
    there = [pair for pair in pairs if all(side in rewards for side in pair.sides)]
    if not there:
        return False
    margins = np.array([rewards[one] - rewards[other] for one, other in (p.sides for p in there)])
    return share(hits(margins), [pair.group for pair in there]).low > _CHANCE


def _quietly(_fraction: float, _stage: str, _numbers: dict[str, float]) -> None:
    """Tell nobody."""
