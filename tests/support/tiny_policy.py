"""A policy of a few ten thousand weights that knows the words of a few texts, and no template."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

_UNKNOWN, _PAD, _END, _LINE = "[UNK]", "[PAD]", "[END]", "\n"
TEXTS = (
    "what is the sky", "what is the sea", "what is snow", "what is rain", "who are you",
    "how do I get home", "can you help me", "is it far", "is it cold today", "tell me a story",
    "the sky is blue and wide", "the sea is deep and salty", "snow is cold and white",
    "rain is water from the clouds", "I am a friend and glad to help", "take the bus or walk",
    "of course I can help you", "no it is not far at all", "yes please take a warm coat",
    "once there was a kind and clever cat", "go away", "I do not know", "that is a bad idea",
)  # fmt: skip


def save_tiny_policy(
    folder: Path, texts: Sequence[str] = TEXTS, *, hidden: int = 64, layers: int = 2
) -> Path:
    """Write the model and its tokenizer, one token a word of `texts`; the same weights every time.

    It has pad and end tokens, and one for the end of a line, such as the empty one after a prompt.
    """
    words = dict.fromkeys(word for text in texts for word in text.split())
    vocabulary = [_UNKNOWN, _PAD, _END, _LINE, *words]
    tokenizer = Tokenizer(
        models.WordLevel({word: at for at, word in enumerate(vocabulary)}, unk_token=_UNKNOWN)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(_LINE, "isolated"), pre_tokenizers.Split(" ", "removed")]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token=_UNKNOWN, pad_token=_PAD, eos_token=_END
    ).save_pretrained(folder)
    torch.manual_seed(11)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=hidden, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, intermediate_size=2 * hidden,
        max_position_embeddings=256, pad_token_id=1, eos_token_id=2, bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
