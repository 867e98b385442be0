"""Responses of a policy to a few prompts, to see what it says."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from services.trainer.backbones import ResolvedBackbone
from services.trainer.policies.generation import write
from services.trainer.policies.opening import open_policy
from services.trainer.policies.params import PolicyParams
from shared.errors import InvalidInput

_AT_ONCE = 8


@dataclass(frozen=True)
class Wish:
    """How to write: temperature 0 is the likeliest response, and equal seeds write the same."""

    temperature: float = 1.0
    seed: int = 0
    max_tokens: int = 128
    threads: int = 1


@dataclass(frozen=True)
class Tried:
    """One response; `ended` by itself, or at the longest that was allowed."""

    prompt: str
    response: str
    ended: bool


def try_policy(source: ResolvedBackbone, prompts: Sequence[str], wish: Wish) -> Iterator[Tried]:
    """A response to each prompt, a few at a time.

    Raises:
        ConfigError: the folder holds no model that writes text.
        ArtifactError: its tokenizer has no end token, or its template takes no prompt.
    """
    params = PolicyParams(
        base_model=source.name,
        seed=wish.seed,
        threads=wish.threads,
        max_response_tokens=wish.max_tokens,
    )
    with tempfile.TemporaryDirectory() as kept:
        policy = open_policy(source, params, Path(kept))
        policy.model.to("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(wish.seed)
        for start in range(0, len(prompts), _AT_ONCE):
            some = list(prompts[start : start + _AT_ONCE])
            found = write(
                policy.model, policy.text, some,
                most=wish.max_tokens, temperature=wish.temperature,
            )  # fmt: skip
            yield from map(Tried, some, found.texts, found.ended.tolist())


def read_prompts(path: Path) -> list[str]:
    """The prompts of a JSON Lines file, each line an object with a `prompt`.

    Raises:
        InvalidInput: the file cannot be read, holds none, or a line is wrong.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read ({type(error).__name__}).") from None
    prompts = [_prompt(path, at, line) for at, line in enumerate(lines, start=1) if line.strip()]
    if not prompts:
        raise InvalidInput(f"{path} holds no prompt.")
    return prompts


def _prompt(path: Path, number: int, line: str) -> str:
    try:
        found = json.loads(line)["prompt"]
    except (ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, str) or not found.strip():
        raise InvalidInput(f'{path}, line {number}: say {{"prompt": "…"}}.')
    return found
