"""A policy opened for training, and written for whoever runs it afterwards."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from transformers.utils import logging

from services.trainer.backbones import ResolvedBackbone
from services.trainer.policies.params import PolicyParams
from services.trainer.policies.text import PLAIN_TEMPLATE, PolicyText
from shared.errors import ConfigError

logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # a log is read by people

_LORA_ALPHA_PER_RANK = 2


@dataclass(frozen=True)
class Opened:
    """A policy in memory.

    Attributes:
        model: the causal language model, without adapters.
        text: how it reads prompts and what it writes.
        folder: its tokenizer, as it will be kept.
    """

    model: Any
    text: PolicyText
    folder: Path


def open_policy(source: ResolvedBackbone, params: PolicyParams, folder: Path) -> Opened:
    """The model in fp32 and its tokenizer, saved in `folder` with a chat template.

    Raises:
        ConfigError: the folder holds no causal language model, or not its own tokenizer.
        ArtifactError: the tokenizer has no end token, or its template takes no prompt.
    """
    torch.set_num_threads(params.threads)
    set_seed(params.seed)
    told = f"--base-model {source.name}"
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(
            source.folder, trust_remote_code=False, local_files_only=True
        )
        opened: Any = AutoModelForCausalLM.from_pretrained(
            source.folder, trust_remote_code=False, local_files_only=True,
            use_safetensors=True, dtype=torch.float32, output_loading_info=True,
        )  # fmt: skip
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"{told} holds no causal language model with a tokenizer ({type(error).__name__}); "
            "name one that writes text, such as gpt2."
        ) from None
    model, loaded = opened
    if loaded["missing_keys"]:
        raise ConfigError(
            f"{told} has no weights for writing text ({len(loaded['missing_keys'])} missing): it "
            "is an encoder or a part of a model; name one that writes text, such as gpt2."
        )
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ConfigError(
            f"{told} has a tokenizer of {len(tokenizer)} tokens and embeddings of {rows}: it is "
            "another model's tokenizer; copy the right one into the folder."
        )
    if tokenizer.chat_template is None:
        tokenizer.chat_template = PLAIN_TEMPLATE
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    tokenizer.save_pretrained(folder)
    _without_dropout(model)
    return Opened(model, PolicyText(folder, tokenizer, params), folder)


def lora_of(params: PolicyParams) -> Any:
    """Adapters of the rank that is asked for; None to train all weights."""
    if not params.lora_rank:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=params.lora_rank,
        lora_alpha=_LORA_ALPHA_PER_RANK * params.lora_rank,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def merged(model: Any) -> Any:
    """The model with its adapters folded into its weights."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model


def can_bf16(params: PolicyParams) -> bool:
    """Whether to train in mixed precision here."""
    on_gpu = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return on_gpu if params.bf16 is None else params.bf16


def _without_dropout(model: Any) -> None:
    """Old and new probabilities of a response are compared, so both must be of one function.

    Many layers drop by a number of their own, such as `attention_dropout`, and have no module.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)
