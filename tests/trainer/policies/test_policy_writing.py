"""What a policy writes is drawn from the distribution that its log-probabilities are of."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model
from support.tiny_policy import save_tiny_policy
from trainer.policies.conftest import Train, opened_policy
from trainer.policies.test_policy_recipes import weights
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from services.trainer.policies.generation import write
from services.trainer.policies.opening import Opened, lora_of
from services.trainer.policies.params import PolicyParams
from services.trainer.policies.rewards import Rewards
from services.trainer.recipes import grpo

ASKED: list[dict[str, Any]] = [{"repetition_penalty": 5.0}, {"no_repeat_ngram_size": 1}]
PROMPTS = ["what is snow", "who are you"]


def written(model: Any, opened: Opened, temperature: float) -> list[str]:
    torch.manual_seed(3)
    return write(model, opened.text, PROMPTS, most=12, temperature=temperature).texts


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: next(iter(asked)))
@pytest.mark.parametrize("rank", [0, 2])
def test_penalties_in_a_saved_configuration_change_no_word(
    asked: dict[str, Any], rank: int, tmp_path: Path
) -> None:
    params = PolicyParams(base_model=str(save_tiny_policy(tmp_path / "base")), lora_rank=rank)
    opened = opened_policy(params, tmp_path / "tokenizer")
    model = get_peft_model(opened.model, lora_of(params)) if rank else opened.model
    plain = [written(model, opened, one) for one in (0.0, 1.0)]

    opened.model.generation_config = GenerationConfig(**asked)
    found = [written(model, opened, one) for one in (0.0, 1.0)]

    assert found == plain
    assert opened.model.generation_config.to_diff_dict().items() >= asked.items()


def test_a_policy_learns_from_unpenalised_responses_and_keeps_its_configuration(
    speaker: Path, train: Train, rewards: Rewards, tmp_path: Path
) -> None:
    penalised = shutil.copytree(speaker, tmp_path / "penalised")
    GenerationConfig(**ASKED[1]).save_pretrained(penalised)
    params = grpo.GrpoParams(
        base_model=str(speaker), learning_rate=1e-3, max_response_tokens=8, batch_size=2, steps=2
    )

    _, plain = train(grpo, params, "plain", rewards=rewards)
    told = params.model_copy(update={"base_model": str(penalised)})
    _, found = train(grpo, told, "penalised run", rewards=rewards)

    assert torch.equal(weights(plain.model), weights(found.model))
    assert found.model.generation_config.no_repeat_ngram_size == 1


def test_a_policy_in_training_is_the_function_that_wrote(tmp_path: Path) -> None:
    base = save_tiny_policy(tmp_path / "base")
    config = LlamaConfig.from_pretrained(base, attention_dropout=0.5)
    LlamaForCausalLM(config).save_pretrained(base)
    model = opened_policy(PolicyParams(base_model=str(base)), tmp_path / "tokenizer").model
    ids = torch.tensor([[4, 5, 6, 7, 8]])

    asleep, awake = (model.train(mode)(input_ids=ids).logits for mode in (False, True))

    assert torch.equal(asleep, awake)
    assert model.config.attention_dropout == 0.5
