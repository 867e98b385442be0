"""Supervised fine-tuning: the policy imitates responses that people chose, corrected or liked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from services.trainer.policies.data import PolicyData
from services.trainer.policies.opening import Opened, lora_of
from services.trainer.policies.params import PolicyParams
from services.trainer.policies.text import PolicyText
from services.trainer.policies.tuned import TunedPolicy, arguments, quiet, run, steps_over, tuned
from services.trainer.trained import Progress
from shared.errors import NotEnoughData
from shared.ml.scorer import Pair

_NOT_LEARNED = -100


class SftParams(PolicyParams):
    """What `heed train sft` can be told."""

    learning_rate: float = Field(2e-5, gt=0, description="Peak of AdamW.")
    least_examples: int = Field(10, ge=1, description="Fewest responses to imitate.")


def train(
    opened: Opened, data: PolicyData, params: SftParams, *, work: Path, progress: Progress
) -> TunedPolicy:
    """The policy after `epochs` over the demonstrations, its loss on held-out ones beside it.

    Raises:
        NotEnoughData: there are too few responses worth imitating.
    """
    from trl import SFTConfig, SFTTrainer

    shown = data.train.demonstrations
    if len(shown) < params.least_examples:
        raise NotEnoughData(
            f"There are {len(shown)} responses that people chose, corrected or rated four stars, "
            f"and imitation needs {params.least_examples}; collect more, or lower least_examples."
        )
    train_rows, cut = _rows(opened.text, shown)
    held_rows, _ = _rows(opened.text, data.held.demonstrations)
    trainer = quiet(SFTTrainer(
        opened.model,
        args=SFTConfig(
            **arguments(params, work, steps=steps_over(len(shown), params)), max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=train_rows,
        eval_dataset=held_rows,
        processing_class=opened.text.tokenizer,
        peft_config=lora_of(params),
    ))  # fmt: skip
    before = _held_loss(trainer, held_rows)
    history = run(trainer, params, work, progress)
    metrics = {
        "examples": len(shown),
        "examples_truncated": cut,
        "held_examples": len(held_rows),
        "held_loss_before": before,
        "held_loss_after": _held_loss(trainer, held_rows),
    }
    return tuned(trainer, metrics, history)


def _rows(text: PolicyText, shown: Sequence[Pair]) -> tuple[Any, int]:
    """Prompt and response as ids of which only the response is learned, and how many were cut."""
    from datasets import Dataset

    rows, cut = [], 0
    for pair in shown:
        prompt, response = text.prompt(pair.prompt), text.response(pair.response)
        labels = [_NOT_LEARNED] * len(prompt.ids) + response.ids
        rows.append({"input_ids": prompt.ids + response.ids, "labels": labels})
        cut += prompt.is_cut or response.is_cut
    return Dataset.from_list(rows), cut


def _held_loss(trainer: Any, rows: Any) -> float | None:
    """Mean loss on held-out demonstrations, nats a token; None without any."""
    return float(trainer.evaluate(rows)["eval_loss"]) if len(rows) else None
