"""Classifiers of a few thousand weights that read conversations, as other people publish them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma2Config,
    Gemma2ForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForSequenceClassification,
    Qwen3Config,
    Qwen3ForSequenceClassification,
)

_TEXTS = [
    "What lowers high blood pressure? Less salt and more movement, and often a thiazide diuretic.",
    "user assistant system The sky is blue because the air scatters short waves more than long.",
    "Tell me about the sea. It is deep, salty and cold, and most of it has never been seen.",
]

CHATML = (
    "{%- if messages[0].role != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{%- endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
)
HEADERS = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}"
    "<|end_header_id|>\n\n{{ message.content | trim }}<|eot_id|>{% endfor %}"
)
TURNS = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}"
    "<start_of_turn>{{ 'model' if message.role == 'assistant' else message.role }}\n"
    "{{ message.content | trim }}<end_of_turn>\n{% endfor %}"
)
PLAIN = (
    "{% for message in messages %}### {{ message.role }}: {{ message.content }}\n"
    "{% endfor %}{{ eos_token }}"
)

_SIZES: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 48, "head_dim": 16, "max_position_embeddings": 512,
    "initializer_range": 0.4,
}  # fmt: skip


@dataclass(frozen=True)
class Family:
    """How one family of models tells conversations, and what makes a tiny one."""

    template: str
    special: tuple[str, ...]
    make: Callable[..., torch.nn.Module]
    names: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)


def _made(model: Any, config: Any) -> Callable[..., torch.nn.Module]:
    return lambda **values: model(config(**(_SIZES | values)))


def _gpt2(**values: Any) -> torch.nn.Module:
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 512, "initializer_range": 0.4}
    return GPT2ForSequenceClassification(GPT2Config(**(sizes | values)))


FAMILIES = {
    "llama": Family(
        HEADERS,
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        _made(LlamaForSequenceClassification, LlamaConfig),
        {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
    ),
    "qwen2": Family(
        CHATML,
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        _made(Qwen2ForSequenceClassification, Qwen2Config),
        {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>"},
    ),
    "qwen3": Family(
        CHATML,
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        _made(Qwen3ForSequenceClassification, Qwen3Config),
        {"pad_token": "<|im_end|>", "eos_token": "<|im_end|>"},
    ),
    "gemma": Family(
        TURNS,
        ("<pad>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        _made(Gemma2ForSequenceClassification, Gemma2Config),
        {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>"},
        {"query_pre_attn_scalar": 16, "sliding_window": 16},
    ),
    "gpt2": Family(PLAIN, ("<|endoftext|>",), _gpt2, {"eos_token": "<|endoftext|>"}),
}


def save_tokenizer(folder: Path, family: Family) -> PreTrainedTokenizerFast:
    """Write a byte-level tokenizer of a few hundred words with the family's chat template."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=450, special_tokens=list(family.special), initial_alphabet=alphabet,
        show_progress=False,
    )  # fmt: skip
    inner.train_from_iterator(_TEXTS, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=inner, **family.names)
    made.chat_template = family.template
    made.save_pretrained(folder)
    return made


def save_tiny_chat(folder: Path, name: str = "llama", **config: Any) -> Path:
    """Write a classifier of a family with its tokenizer; the same weights every time."""
    family = FAMILIES[name]
    tokenizer = save_tokenizer(folder, family)
    torch.manual_seed(7)
    values: dict[str, Any] = {
        "vocab_size": len(tokenizer), "num_labels": 1, "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
    }  # fmt: skip
    model: Any = family.make(**(values | family.config | config))
    model.save_pretrained(folder)
    return folder
