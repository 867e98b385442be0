"""Responses that a policy writes, sampled or its likeliest."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from services.trainer.policies.text import PolicyText


@dataclass(frozen=True)
class Written:
    """Responses to n prompts, p prompt tokens with padding on the left, r response tokens.

    Attributes:
        ids: prompts and responses, shape (n, p + r).
        mask: what is no padding, shape (n, p + r).
        response_mask: tokens of the response, its end included, shape (n, r).
        texts: the responses.
        ended: whether each ended by itself, shape (n,).
    """

    ids: Tensor
    mask: Tensor
    response_mask: Tensor
    texts: list[str]
    ended: Tensor

    @property
    def response_ids(self) -> Tensor:
        """The response tokens with what follows their end, shape (n, r)."""
        return self.ids[:, -self.response_mask.shape[1] :]


def write(
    model: Any,
    text: PolicyText,
    prompts: Sequence[str],
    *,
    most: int,
    temperature: float = 1.0,
) -> Written:
    """A response of at most `most` tokens to each prompt; temperature 0 is the likeliest.

    Sampling draws from torch's generator, so equal seeds write equal texts.
    """
    rows = [text.prompt(prompt).ids for prompt in prompts]
    ids, mask = left_padded(rows, text.tokenizer.pad_token_id)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with torch.no_grad(), unpenalised(model):
        found = model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            max_new_tokens=most,
            do_sample=temperature > 0,
            **({"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature > 0 else {}),
            eos_token_id=text.end,
            pad_token_id=text.tokenizer.pad_token_id,
        )
    model.train(was_training)
    return written(found, mask.to(device), text)


@contextmanager
def unpenalised(model: Any) -> Iterator[None]:
    """Let a model write from its own distribution, the one that `log_probs` tells.

    Its saved configuration may ask for penalties and cuts, and `generate` takes from there whatever
    a caller leaves open. It is the model's own again afterwards, for whoever serves it.
    """
    holder = model.get_base_model() if hasattr(model, "get_base_model") else model
    kept = holder.generation_config
    holder.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        holder.generation_config = kept


def written(ids: Tensor, prompt_mask: Tensor, text: PolicyText) -> Written:
    """What `ids` say after their prompts, up to the first end."""
    responses = ids[:, prompt_mask.shape[1] :]
    is_end = responses.eq(text.end)
    before = is_end.cumsum(dim=1) - is_end.long()  # ends before each token
    response_mask = (before == 0).long()
    texts = [
        text.written(row[: int(size)].tolist())
        for row, size in zip(responses, response_mask.sum(dim=1), strict=True)
    ]
    mask = torch.cat([prompt_mask, response_mask], dim=1)
    return Written(ids, mask, response_mask, texts, is_end.any(dim=1))


def left_padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Rows of ids as one tensor with padding on the left, and its mask, both (n, longest)."""
    longest = max(len(row) for row in rows)
    ids = torch.tensor([[pad] * (longest - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def log_probs(
    model: Any, ids: Tensor, mask: Tensor, response: int, *, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the last `response` tokens, (n, r), and their distributions (n, r, v).

    They are those of sampling at that temperature. Padded places hold numbers of no meaning.
    """
    logits = model(
        input_ids=ids, attention_mask=mask, position_ids=places_of(mask), use_cache=False
    ).logits
    spread = torch.log_softmax(logits[:, -response - 1 : -1].float() / temperature, dim=-1)
    return spread.gather(2, ids[:, -response:, None])[..., 0], spread


def places_of(mask: Tensor) -> Tensor:
    """The place of each token in its text, (n, t); padding on the left counts for nothing."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)
