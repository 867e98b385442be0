"""Direct preference optimisation: the policy prefers what people preferred, without a reward model.

Source: Rafailov et al. 2023, https://arxiv.org/abs/2305.18290.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from services.trainer.examples import PreferencePair
from services.trainer.policies.data import FEW_PAIRS, PolicyData
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
from shared.errors import NotEnoughData


class DpoParams(PolicyParams):
    """What `heed train dpo` can be told."""

    learning_rate: float = Field(1e-6, gt=0, description="Peak of AdamW.")
    beta: float = Field(0.1, gt=0, description="How strongly the policy is kept near its start.")
    least_pairs: int = Field(20, ge=1, description="Fewest comparisons to learn from.")


def train(
    opened: Opened, data: PolicyData, params: DpoParams, *, work: Path, progress: Progress
) -> TunedPolicy:
    """The policy after `epochs` over the comparisons, its margin on held-out ones beside it.

    Raises:
        NotEnoughData: there are too few comparisons.
    """
    from trl import DPOConfig, DPOTrainer

    pairs = data.train.pairs
    if len(pairs) < params.least_pairs:
        raise NotEnoughData(
            f"There are {len(pairs)} comparisons and this needs {params.least_pairs}; collect "
            "more, or lower least_pairs."
        )
    train_rows, counts = _rows(opened.text, pairs)
    held_rows, _ = _rows(opened.text, data.held.pairs)
    trainer = quiet(
        taking_ids(DPOTrainer)(
            opened.model,
            args=DPOConfig(
                **arguments(params, work, steps=steps_over(len(train_rows), params)),
                beta=params.beta,
                max_length=None,
            ),
            train_dataset=train_rows,
            eval_dataset=held_rows if len(held_rows) else None,
            processing_class=opened.text.tokenizer,
            peft_config=lora_of(params),
        )
    )
    history = run(trainer, params, work, progress)
    metrics: Metrics = {**counts, "few_pairs": int(len(pairs) < FEW_PAIRS)}
    return tuned(trainer, metrics | held_margin(trainer, len(held_rows)), history)


def _rows(text: PolicyText, pairs: Sequence[PreferencePair]) -> tuple[Any, Metrics]:
    """Prompt and both responses as ids; pairs that are alike after cutting are dropped."""
    from datasets import Dataset

    rows, cut, dropped = [], 0, 0
    for pair in pairs:
        prompt = text.prompt(pair.prompt)
        chosen, rejected = text.response(pair.chosen), text.response(pair.rejected)
        if chosen.ids == rejected.ids:
            dropped += 1
            continue
        rows.append(
            {"prompt_ids": prompt.ids, "chosen_ids": chosen.ids, "rejected_ids": rejected.ids}
        )
        cut += prompt.is_cut or chosen.is_cut or rejected.is_cut
    counts: Metrics = {"pairs": len(rows), "pairs_truncated": cut, "pairs_dropped": dropped}
    return Dataset.from_list(rows), counts
