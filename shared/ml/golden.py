"""Synthetic pairs, made by code, whose rewards an artifact must reproduce when it is loaded."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from shared.contracts.manifest import Golden
from shared.errors import ArtifactError
from shared.ml.scorer import Pair, Scorer

GOLDEN_FILE = "golden.jsonl"
GOLDEN_ROWS = 120
FP32_GOLDEN = Golden(rows=GOLDEN_ROWS, tolerance=1e-4)
BF16_TOLERANCE = 0.03
PLAIN_BF16_SHARE = 0.25

_WORDS = (
    *("the", "a", "red", "warm", "quiet", "river", "engine", "garden", "letter", "number"),
    *("doctor", "harvest", "window", "signal", "measures", "carries", "repairs", "explains"),
    *("avoids", "counts", "because", "after", "without", "near", "42", "3.5", "é", "雪", "🙂"),
)
_SAMPLE = 12


def golden_pairs(rows: int = GOLDEN_ROWS) -> list[Pair]:
    """The same distinct pairs on every machine; the last is longer than any window."""
    draw = random.Random(20250117)
    prompts = [_sentence(draw, words) for words in (0, 1, 3, 8, 15, 40)]
    lengths = (1, 2, 4, 7, 11, 16, 23)
    pairs = [
        Pair(prompts[row % len(prompts)], f"{_sentence(draw, lengths[row % len(lengths)])} {row}")
        for row in range(rows - 2)
    ]
    return [*pairs, Pair(prompts[3], ""), Pair(_sentence(draw, 600), _sentence(draw, 600))]


def write_golden(folder: Path, scorer: Scorer) -> int:
    """Store the golden pairs with the rewards of `scorer`; gives the number of rows."""
    pairs = golden_pairs()
    rewards = scorer.score(pairs).reward
    lines = [
        json.dumps({"prompt": pair.prompt, "response": pair.response, "reward": float(reward)})
        for pair, reward in zip(pairs, rewards, strict=True)
    ]
    (folder / GOLDEN_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)


def check_golden(folder: Path, scorer: Scorer, *, rows: int = _SAMPLE) -> None:
    """Score an even sample of the golden rows again.

    Raises:
        ArtifactError: the rows cannot be read, or a reward differs by more than the tolerance.
    """
    stored = list(_read_golden(folder / GOLDEN_FILE))
    golden = scorer.manifest.golden
    if len(stored) != golden.rows:
        raise ArtifactError(
            f"{folder / GOLDEN_FILE} holds {len(stored)} rows, not {golden.rows}; restore it."
        )
    sample = [stored[at] for at in np.linspace(0, len(stored) - 1, rows).astype(int)]
    rewards = scorer.score([pair for pair, _ in sample]).reward
    worst = float(np.max(np.abs(rewards - np.array([reward for _, reward in sample]))))
    fitted = scorer.manifest.backbone.engine
    spread = float(np.std([reward for _, reward in stored]))
    accepted = tolerance_of(scorer.engine, fitted, golden.tolerance, spread=spread)
    if not worst <= accepted:
        raise ArtifactError(
            f"{folder} scores its golden rows {worst:.2g} away from what was stored (at most "
            f"{accepted:g} is accepted on {scorer.engine}); restore the artifact, or serve it on "
            f"the engine it was fitted on, {fitted}."
        )


def tolerance_of(engine: str, fitted: str, accepted: float, *, spread: float) -> float:
    """Largest difference of a raw reward from the stored one, on an engine.

    Args:
        engine: the engine that scores now.
        fitted: the engine whose rewards are stored.
        accepted: what the manifest accepts where both are the same.
        spread: standard deviation of the stored rewards; what half the bits lose grows with it.
            In the many layers of a decoder it is a tenth, and with other weights the whole.
    """
    if not engine.endswith("bf16") or fitted.endswith("bf16"):
        return accepted
    share = PLAIN_BF16_SHARE if engine.startswith("transformers-") else BF16_TOLERANCE
    return max(accepted, BF16_TOLERANCE, share * spread)


def _read_golden(path: Path) -> Iterator[tuple[Pair, float]]:
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            yield Pair(row["prompt"], row["response"]), float(row["reward"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path} cannot be read ({type(error).__name__}); restore the artifact."
        ) from None


def _sentence(draw: random.Random, words: int) -> str:
    return " ".join(draw.choices(_WORDS, k=words))
