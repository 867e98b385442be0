"""Kahneman-Tversky optimisation: the policy learns from thumbs, one response at a time.

Source: Ethayarajh et al. 2024, https://arxiv.org/abs/2402.01306; the weights follow its equation 8.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from services.trainer.policies.data import PolicyData
from services.trainer.policies.opening import Opened, lora_of
from services.trainer.policies.params import PolicyParams
from services.trainer.policies.text import PolicyText
from services.trainer.policies.tuned import (
    TunedPolicy,
    arguments,
    held_margin,
    quiet,
    run,
    steps_over,
    taking_ids,
    tuned,
)
from services.trainer.reward_metrics import Metrics
from services.trainer.trained import Progress
from shared.errors import InvalidInput, NotEnoughData
from shared.ml.scorer import Pair


class KtoParams(PolicyParams):
    """What `heed train kto` can be told."""

    learning_rate: float = Field(1e-6, gt=0, description="Peak of AdamW.")
    beta: float = Field(0.1, gt=0, description="How strongly the policy is kept near its start.")
    least_of_each: int = Field(10, ge=1, description="Fewest liked, and fewest disliked responses.")


def train(
    opened: Opened, data: PolicyData, params: KtoParams, *, work: Path, progress: Progress
) -> TunedPolicy:
    """The policy after `epochs` over liked and disliked responses.

    The rarer kind weighs more, so that both pull alike.

    Raises:
        NotEnoughData: there are too few of a kind.
        InvalidInput: a batch of one response has no other to estimate the distance from.
    """
    from trl import KTOConfig, KTOTrainer

    if params.batch_size < 2:
        raise InvalidInput(
            "KTO compares responses within a batch; give a --batch-size of 2 or more."
        )
    liked, disliked = data.train.liked, data.train.disliked
    if min(len(liked), len(disliked)) < params.least_of_each:
        raise NotEnoughData(
            f"There are {len(liked)} liked and {len(disliked)} disliked responses, and this needs "
            f"{params.least_of_each} of each; collect thumbs or ratings, or lower least_of_each."
        )
    train_rows, cut = _rows(opened.text, data.train.liked, data.train.disliked, params)
    held_rows, _ = _rows(opened.text, data.held.liked, data.held.disliked, params)
    trainer = quiet(
        taking_ids(KTOTrainer)(
            opened.model,
            args=KTOConfig(
                **arguments(params, work, steps=steps_over(len(train_rows), params)),
                beta=params.beta,
                max_length=None,
                desirable_weight=max(1.0, len(disliked) / len(liked)),
                undesirable_weight=max(1.0, len(liked) / len(disliked)),
            ),
            train_dataset=train_rows,
            eval_dataset=held_rows if len(held_rows) else None,
            processing_class=opened.text.tokenizer,
            peft_config=lora_of(params),
        )
    )
    history = run(trainer, params, work, progress)
    counts: Metrics = {"liked": len(liked), "disliked": len(disliked), "examples_truncated": cut}
    return tuned(trainer, counts | held_margin(trainer, len(held_rows)), history)


def _rows(
    text: PolicyText, liked: Sequence[Pair], disliked: Sequence[Pair], params: KtoParams
) -> tuple[Any, int]:
    """Responses as ids in a drawn order, each with another of its batch, which estimates the KL."""
    import numpy as np
    from datasets import Dataset

    said = [(pair, True) for pair in liked] + [(pair, False) for pair in disliked]
    order = np.random.default_rng(params.seed).permutation(len(said))
    rows, cut = [], 0
    for at in order:
        pair, label = said[at]
        prompt, response = text.prompt(pair.prompt), text.response(pair.response)
        rows.append({"prompt_ids": prompt.ids, "completion_ids": response.ids, "label": label})
        cut += prompt.is_cut or response.is_cut
    for start in range(0, len(rows), params.batch_size):
        batch = rows[start : start + params.batch_size]
        for row, other in zip(batch, [batch[-1], *batch[:-1]], strict=True):
            row["KL_completion_ids"] = other["completion_ids"]
    return Dataset.from_list(rows), cut
