"""How long the embedding model takes to learn from 10,000 rated rows of generated texts.

    python -m benchmarks.training [--prompts 2500] [--out benchmarks/results/training.json]

Four responses of 60 tokens on average to each prompt of 20; stars follow planted words and noise.
Measured in this process: reading the encoder, embedding and fitting, then the fit alone with what
the encoder remembers. Nothing that was embedded is written anywhere.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from services.trainer.audit.learning import RememberingEncoder
from services.trainer.examples import RatedResponse, RewardDataset
from services.trainer.recipes.embedding_reward import EmbeddingParams, train_embedding_reward
from shared.ml.backbones import default_encoder_folder
from shared.ml.encoder import Encoder, open_encoder

PROMPT_TOKENS = 20
RESPONSES = 4
_GOOD, _BAD = "carefully", "whatever"
_STORY = (
    "the patient reported a mild fever and we measured river levels near every station before "
    "noon because results from both models differ when data arrive late or not at all so people "
    "checked each figure table and note again while others asked how long it would take to read"
)


def main() -> None:
    """Train twice and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--prompts", type=int, default=2500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/training.json"))
    given = parser.parse_args()
    rated = generated(given.prompts, seed=0)
    result: dict[str, object] = {"rated_rows": len(rated), "prompts": given.prompts}
    started = time.monotonic()
    encoder = RememberingEncoder(open_encoder(default_encoder_folder(), threads=given.threads))
    result |= _token_counts(encoder, rated)
    result["first"] = _train(encoder, rated, started)
    result["embedded_already"] = _train(encoder, rated, time.monotonic())
    result["peak_mebibytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    given.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


def generated(prompts: int, *, seed: int) -> list[RatedResponse]:
    """Rated responses to prompts; better ones hold more of one planted word than of another."""
    draw = np.random.default_rng(seed)
    rows = []
    for at in range(prompts):
        prompt = _text(draw, PROMPT_TOKENS)
        for response in range(RESPONSES):
            merit = draw.normal()
            words = [_GOOD if merit > 0 else _BAD] * int(abs(2 * merit))
            text = f"{_text(draw, int(draw.integers(26, 91)))} {' '.join(words)}."
            stars = float(np.clip(np.round(3 + merit + 0.5 * draw.normal()), 1, 5))
            rows.append(RatedResponse(prompt, text, stars, str(at), f"{at}.{response}"))
    return rows


def _text(draw: np.random.Generator, words: int) -> str:
    return " ".join(draw.choice(_STORY.split(), words).tolist())


def _token_counts(encoder: Encoder, rated: Sequence[RatedResponse]) -> dict[str, float]:
    texts = {
        "prompt_tokens": [one.prompt for one in rated[::RESPONSES]],
        "response_tokens": [one.response for one in rated],
    }
    return {
        name: round(float(np.mean([len(ids) for ids in encoder.tokenizer.ids(some)])), 1)
        for name, some in texts.items()
    }


def _train(encoder: Encoder, rated: Sequence[RatedResponse], started: float) -> dict[str, float]:
    cpu = time.process_time()
    dataset = RewardDataset((), (), rated, (), snapshot_hash="")
    train_embedding_reward(dataset, EmbeddingParams(), encoder, progress=lambda *_: None)
    return {
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
    }


if __name__ == "__main__":
    main()
