"""The encoder that a head is fitted on, in the arithmetic it will be served in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from shared.ml.encoder import Encoder, open_encoder, open_int8_encoder
from shared.ml.quantised import Ranges, every
from shared.ml.scorer import Pair

Engine = Literal["fp32", "int8"]

_MOST_PAIRS = 256


def open_for_fitting(
    folder: Path, pairs: Sequence[Pair], *, engine: Engine, threads: int
) -> tuple[Encoder, Ranges | None]:
    """The encoder of a folder; for `int8` also the ends that the artifact has to keep.

    Args:
        folder: the encoder's.
        pairs: to learn from; prompts and responses of some of them tell the ends.
        engine: what the head will be fitted on and served with.
        threads: torch threads of this process.

    Raises:
        ArtifactError: the folder is unsafe, no encoder, or none that int8 can run here.
    """
    plain = open_encoder(folder, threads=threads)
    if engine == "fp32":
        return plain, None
    some = every(sorted(pairs, key=lambda pair: (pair.prompt, pair.response)), _MOST_PAIRS)
    texts = [text for pair in some for text in (pair.prompt, pair.response)]
    tokenizer = plain.tokenizer
    windows = [tokenizer.head_window(ids, plain.max_tokens) for ids in tokenizer.ids(texts)]
    return open_int8_encoder(folder, [window.ids for window in windows], threads=threads)
