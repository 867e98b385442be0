"""Cross-validated pair accuracy of the embedding recipes on human comparisons of two dialogues.

    python benchmarks/hh_baseline.py PATH [--repeats 5] [--out benchmarks/results/hh-baseline.json]

PATH holds one JSON object a line, with the dialogues `chosen` and `rejected` in the format of
HH-RLHF. Folds never split dialogues that begin alike. The prompt is the last human turn, and in a
second table the whole dialogue before the response. Every text is embedded once; each fold then
runs the same fitting code as `heed train embedding`.
"""

import argparse
import gzip
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from services.trainer.baselines import fitted_length_margins
from services.trainer.embedding_head import fit_default, fit_original
from services.trainer.evidence import collect_items
from services.trainer.examples import PreferencePair
from services.trainer.reward_metrics import grouped_interval, hits
from shared.contracts.manifest import Feature, Truncation
from shared.ml.backbones import default_encoder_folder
from shared.ml.encoder import open_encoder
from shared.ml.head import Embedded
from shared.ml.scorer import PairReader

FOLDS = 5
FEATURES: tuple[Feature, ...] = ("response", "product", "lexical")

Floats = NDArray[np.float64]


def main() -> None:
    """Write the table as JSON and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("path", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/hh-baseline.json"))
    given = parser.parse_args()
    started = time.monotonic()
    result: dict[str, object] = {"file_sha256": hashlib.sha256(given.path.read_bytes()).hexdigest()}
    for name, is_whole in (("last_turn", False), ("dialogue", True)):
        pairs = read_pairs(given.path, is_whole=is_whole)
        scored = cross_validate(pairs, repeats=given.repeats)
        result[name] = summarise(scored, pairs, repeats=given.repeats)
    result["seconds"] = round(time.monotonic() - started, 1)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


def read_pairs(path: Path, *, is_whole: bool) -> list[PreferencePair]:
    """Comparisons of two last responses; the prompt is one human turn or the whole dialogue."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    rows = [json.loads(line) for line in content.splitlines()]
    split = [(_split(row["chosen"], is_whole), _split(row["rejected"], is_whole)) for row in rows]
    return [
        PreferencePair(prompt, chosen, rejected, group=first, row_ids=(str(at),))
        for at, ((first, prompt, chosen), (_, _, rejected)) in enumerate(split)
    ]


def _split(dialogue: str, is_whole: bool) -> tuple[str, str, str]:
    """First human turn (normalised), prompt, and the response to it."""
    context, _, response = dialogue.rpartition("\n\nAssistant:")
    turns = context.split("\n\nHuman:")
    first = turns[1].partition("\n\nAssistant:")[0]
    prompt = context if is_whole else turns[-1]
    return " ".join(first.lower().split()), prompt.strip(), response.strip()


def cross_validate(pairs: Sequence[PreferencePair], *, repeats: int) -> dict[str, Floats]:
    """Hits of each model on each pair, averaged over the repeats, shape (pairs,)."""
    apart, joined = embed(pairs)
    groups = np.unique([str(pair.group) for pair in pairs], return_inverse=True)[1]
    totals = {name: np.zeros(len(pairs)) for name in ("default", "original", "length")}
    for seed in range(repeats):
        folds = GroupKFold(FOLDS, shuffle=True, random_state=1000 + seed)
        for kept, held in folds.split(groups, groups=groups):
            margins = {
                "default": default_margins(apart, pairs, kept, held, seed=seed),
                "original": original_margins(joined, kept, held, seed=seed),
                "length": fitted_length_margins(
                    [pairs[at] for at in kept], [], [pairs[at] for at in held]
                ),
            }
            for name, found in margins.items():
                totals[name][held] += hits(found) / repeats
    return totals


def embed(pairs: Sequence[PreferencePair]) -> tuple[Embedded, Embedded]:
    """Both sides of every pair, in the windows of the default and of the original recipe."""
    encoder = open_encoder(default_encoder_folder())
    sides = [side for pair in pairs for side in pair.sides]
    apart = Truncation(prompt_tokens=encoder.max_tokens, response_tokens=encoder.max_tokens)
    return (
        PairReader(encoder, apart, separator=None).read(sides).embedded,
        PairReader(encoder, apart, separator=" </s> ").read(sides).embedded,
    )


def default_margins(
    embedded: Embedded,
    pairs: Sequence[PreferencePair],
    kept: NDArray[np.int64],
    held: NDArray[np.int64],
    *,
    seed: int,
) -> Floats:
    """Margins of the default recipe on the held-out pairs."""
    train = [pairs[at] for at in kept]
    items = collect_items(train, [])
    places = {side: 2 * at + offset for at in kept for offset, side in enumerate(pairs[at].sides)}
    rows = np.array([places[item] for item in items.pairs])
    fitted = fit_default(take(embedded, rows), items, FEATURES, good_rating=4.0, seed=seed)
    return side_margins(fitted.head.rewards(take(embedded, sides_of(held))))


def original_margins(
    embedded: Embedded, kept: NDArray[np.int64], held: NDArray[np.int64], *, seed: int
) -> Floats:
    """Margins of the original recipe, whose labels are 5 stars for chosen and 1 for rejected."""
    ratings = [5.0, 1.0] * len(kept)
    fitted = fit_original(
        take(embedded, sides_of(kept)), ratings, good_rating=4.0, test_share=0.12, seed=seed
    )
    return side_margins(fitted.head.rewards(take(embedded, sides_of(held))))


def sides_of(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of the chosen and rejected sides of some pairs, alternating."""
    return np.stack([2 * pairs, 2 * pairs + 1], axis=1).ravel()


def side_margins(rewards: Floats) -> Floats:
    """Chosen minus rejected, of alternating sides."""
    return np.asarray(rewards[0::2] - rewards[1::2])


def take(embedded: Embedded, rows: NDArray[np.int64]) -> Embedded:
    """Some rows of embedded pairs."""
    return Embedded(
        embedded.prompt[rows],
        embedded.response[rows],
        embedded.response_tokens[rows],
        [embedded.responses[row] for row in rows],
    )


def summarise(
    scored: dict[str, Floats], pairs: Sequence[PreferencePair], *, repeats: int
) -> dict[str, object]:
    """Accuracies and paired differences, each with a 95 % bootstrap interval over groups."""
    groups = [pair.group for pair in pairs]
    rows = {name: _interval(found, groups) for name, found in scored.items()}
    gains = {
        f"default - {name}": _interval(scored["default"] - scored[name], groups)
        for name in ("original", "length")
    }
    sizes = {"pairs": len(pairs), "groups": len(set(groups)), "folds": FOLDS, "repeats": repeats}
    return {**sizes, "pair_accuracy": rows, "paired_difference": gains}


def _interval(values: Floats, groups: Sequence[bytes | str]) -> dict[str, float]:
    found = grouped_interval(values, groups)
    ends = {"mean": found.mean, "low": found.low, "high": found.high}
    return {name: round(value, 4) for name, value in ends.items()}


if __name__ == "__main__":
    main()
