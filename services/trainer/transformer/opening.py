"""A pretrained model as a classifier with one output: whole, with LoRA adapters, or in 4 bits."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from services.trainer.transformer.mean_pooling import add_mean_layer, pools_by_mean
from shared.errors import ConfigError

_SAFE = {"trust_remote_code": False, "local_files_only": True}
_LORA_ALPHA = 2  # times the rank, as is usual
_LORA_DROPOUT = 0.05
_NEW_LAYERS = r".*(classifier|score)(\..*)?"  # as transformers calls them, their layers too


@dataclass(frozen=True)
class Adapting:
    """What of a model is trained, and how it is held in memory.

    Attributes:
        lora_rank: rank of LoRA adapters (arXiv:2106.09685); 0 trains every weight.
        four_bit: hold the frozen weights in 4 bits (QLoRA, arXiv:2305.14314); needs a GPU.
        gradient_checkpointing: compute activations again instead of keeping them.
        layers: how many layers are kept from the model's beginning; 0 keeps all.
    """

    lora_rank: int = 0
    four_bit: bool = False
    gradient_checkpointing: bool = False
    layers: int = 0

    def require_possible(self) -> None:
        """Pass when this machine can do it.

        Raises:
            ConfigError: a package or a GPU is missing; the message says which.
        """
        if self.lora_rank and find_spec("peft") is None:
            raise ConfigError("lora_rank needs the package peft: pip install 'heed-rlhf[trainer]'.")
        if not self.four_bit:
            return
        if not self.lora_rank:
            raise ConfigError("four_bit trains adapters only; give lora_rank, for example 16.")
        if not torch.cuda.is_available() or find_spec("bitsandbytes") is None:
            raise ConfigError(
                "four_bit needs an NVIDIA GPU and the package bitsandbytes, which this machine "
                "does not have; leave it out, and lora_rank trains in full precision."
            )


def open_pretrained(folder: Path, adapting: Adapting, *, seed: int) -> tuple[Any, Any]:
    """A classifier with one fresh output and its tokenizer; never runs code of the folder.

    Raises:
        ConfigError: what `adapting` asks for cannot be done here, or nothing can be padded with.
    """
    from transformers import AutoTokenizer

    adapting.require_possible()
    tokenizer = AutoTokenizer.from_pretrained(folder, **_SAFE)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise ConfigError(
            "The model's tokenizer has neither a padding nor an end token; name one of them "
            "in its tokenizer_config.json."
        )
    model = _open_classifier(folder, adapting, seed=seed, four_bit=adapting.four_bit)
    if pools_by_mean(folder, model.config) and not adapting.four_bit:
        add_mean_layer(model)
    model.config.pad_token_id = tokenizer.pad_token_id  # what batches are padded with
    if adapting.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    return (_with_adapters(model, adapting) if adapting.lora_rank else model), tokenizer


def plain_model(model: Any, folder: Path, adapting: Adapting, *, seed: int) -> Any:
    """The fine-tuned model without adapters, in fp32 on the CPU, as artifacts hold it."""
    if adapting.four_bit:
        opened = _open_classifier(folder, adapting, seed=seed, four_bit=False)
        opened.config.pad_token_id = model.config.pad_token_id
        whole = _with_adapters(opened, adapting)
        _copy_weights(model, whole)
        model = whole
    if adapting.lora_rank:
        model = model.merge_and_unload()
    return model.float().cpu().eval()


def _copy_weights(model: nn.Module, whole: nn.Module) -> None:
    """Give a whole model what was trained, and the rounded weights that it was trained beside.

    Adapters and last layer make up for the rounding; on weights without it they are another model.
    """
    from peft.utils.integrations import dequantize_bnb_weight

    trained = {name: one.cpu() for name, one in model.named_parameters() if one.requires_grad}
    whole.load_state_dict(trained, strict=False)
    for name, one in model.named_parameters():
        if hasattr(one, "quant_state"):
            rounded = dequantize_bnb_weight(one)
            whole.get_parameter(name).data.copy_(rounded)


def _open_classifier(folder: Path, adapting: Adapting, *, seed: int, four_bit: bool) -> Any:
    import transformers
    from transformers import AutoConfig, AutoModelForSequenceClassification, set_seed

    quiet: Any = transformers.utils.logging
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    set_seed(seed)  # the new output layer is random
    config = AutoConfig.from_pretrained(folder, num_labels=1, **_SAFE)
    if 0 < adapting.layers < config.num_hidden_layers:
        config.num_hidden_layers = adapting.layers
    more: dict[str, Any] = {"dtype": torch.float32}
    if four_bit:
        more["quantization_config"] = transformers.BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=torch.bfloat16,
            llm_int8_skip_modules=["classifier", "score"],
        )
    return AutoModelForSequenceClassification.from_pretrained(
        folder, config=config, use_safetensors=True, **_SAFE, **more
    )


def _with_adapters(model: Any, adapting: Adapting) -> nn.Module:
    from peft import LoraConfig, TaskType, get_peft_model, prepare_model_for_kbit_training

    if adapting.four_bit:
        model = prepare_model_for_kbit_training(  # type: ignore[no-untyped-call]
            model, use_gradient_checkpointing=adapting.gradient_checkpointing
        )
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,  # what is new is trained whole,
        exclude_modules=_NEW_LAYERS,  # and has no adapters
        r=adapting.lora_rank,
        lora_alpha=_LORA_ALPHA * adapting.lora_rank,
        lora_dropout=_LORA_DROPOUT,
        target_modules="all-linear",
    )
    adapted: nn.Module = get_peft_model(model, config)
    return adapted
