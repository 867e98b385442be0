"""A decoder of a few thousand weights, as they come: no padding token, and no bias in its head."""

from pathlib import Path

import torch
from support.tiny_bert import WORDS
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

_END = "[SEP]"


def save_tiny_llama(folder: Path) -> Path:
    """Write the model and its tokenizer, which ends every text; the same weights every time."""
    tokenizer = Tokenizer(
        models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {_END}", special_tokens=[(_END, WORDS.index(_END))]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", eos_token=_END
    ).save_pretrained(folder)
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, intermediate_size=64, max_position_embeddings=64,
        initializer_range=0.3,
    )  # fmt: skip
    LlamaModel(config).save_pretrained(folder)
    return folder
