"""Batches of judgements as the tensors that the likelihood reads.

Legend: m judgements, K items of the longest one, u distinct windows, T tokens of the longest.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from services.trainer.likelihood.terms import LEVELS
from services.trainer.transformer.judgements import TokenJudgement

SCALES = tuple(LEVELS)
COMMON = 0  # the place of whoever is not known as a rater

Ids = tuple[int, ...]


class Collator:
    """Judgements as the tensors that `RewardLikelihood` takes."""

    def __init__(self, pad: int, raters: Mapping[str, int]) -> None:
        """Pad with the id `pad`; `raters` gives each known rater a place from 1 on."""
        self.pad = pad
        self._raters = raters

    def __call__(self, rows: Sequence[TokenJudgement]) -> dict[str, Tensor]:
        """One batch; a window that several judgements share is read once."""
        distinct = dict.fromkeys(window for row in rows for window in row.windows)
        return self.read(list(distinct)) | self.terms(rows, list(distinct))

    def read(self, windows: Sequence[Ids]) -> dict[str, Tensor]:
        """`input_ids` and `attention_mask`, shape (u, T)."""
        longest = max(map(len, windows))
        padded = [[*ids, *[self.pad] * (longest - len(ids))] for ids in windows]
        mask = [[1] * len(ids) + [0] * (longest - len(ids)) for ids in windows]
        return {"input_ids": torch.tensor(padded), "attention_mask": torch.tensor(mask)}

    def terms(self, rows: Sequence[TokenJudgement], windows: Sequence[Ids]) -> dict[str, Tensor]:
        """What was said of which windows: `places` of shape (m, K), -1 for none, and (m,) each."""
        at = {ids: place for place, ids in enumerate(windows)}
        most = max(len(row.windows) for row in rows)
        said = [row.said for row in rows]
        places = [
            [*(at[ids] for ids in row.windows), *[-1] * (most - len(row.windows))] for row in rows
        ]
        numbers: dict[str, list[Any]] = {
            "places": places,
            "kind": [int(one.kind) for one in said],
            "scale": [SCALES.index(one.scale) for one in said],
            "level": [one.level for one in said],
            "rater": [self._raters.get(one.rater or "", COMMON) for one in said],
            "can_tie": [one.can_tie for one in said],
        }
        weight = torch.tensor([one.weight for one in said], dtype=torch.float32)
        return {name: torch.tensor(value) for name, value in numbers.items()} | {"weight": weight}


def known_raters(rows: Sequence[TokenJudgement]) -> dict[str, int]:
    """A place from 1 on for everybody who rated; comparisons know no thresholds."""
    names = {row.said.rater for row in rows if len(row.windows) == 1 and row.said.rater}
    return {name: place for place, name in enumerate(sorted(names), start=COMMON + 1)}
