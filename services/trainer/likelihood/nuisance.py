"""What the likelihood learns beside rewards: the cuts of raters and the width of ties.

All of it lies in one vector. Each scale has one row of free numbers for the common cuts
(`ordered_cuts`) and one for each rater who used it, added to the common row and drawn to zero:
who rated little is thought to rate as all do. Last comes ln(eta), where ties were said.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from services.trainer.examples import Scale
from services.trainer.likelihood.evidence import Evidence, Floats, Indices
from services.trainer.likelihood.terms import LEVELS, ordered_cuts, ordered_cuts_slopes

# A rater's own cuts are thought to differ from the common ones by about this much: the first cut,
# in logits, and the logarithm of each gap. Looser gaps would fit themselves around the few ratings
# of each rater, and rewards would grow to almost twice their size where everybody rates once.
RATER_SPREAD, GAP_SPREAD = 1.0, 0.3
_LOOSE = 10.0  # holds what no judgement speaks of, such as a star nobody gave
_START_ETA = 0.5
_CURVATURE = 0.2
_NONE = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class ScaleCuts:
    """Where the cuts of one scale lie in the vector.

    Attributes:
        raters: in the order of the rows below the common one.
        start: of the common row when nothing is learned yet.
    """

    scale: Scale
    at: slice
    raters: tuple[str, ...]
    start: Floats

    @property
    def shape(self) -> tuple[int, int]:
        """Rows (common, then raters) and cuts."""
        return 1 + len(self.raters), len(self.start)

    def raw(self, vector: Floats) -> Floats:
        """Free numbers of the common cuts and of each rater's, with `shape`."""
        rows = vector[self.at].reshape(self.shape)
        return np.concatenate([rows[:1], rows[:1] + rows[1:]])

    def slopes(self, raw: Floats, by_cut: Floats) -> Floats:
        """Derivatives by this part of the vector, from those by the cuts of `shape`."""
        by_raw = ordered_cuts_slopes(raw, by_cut)
        return np.concatenate([by_raw.sum(axis=0), by_raw[1:].ravel()])


@dataclass(frozen=True)
class Nuisance:
    """The layout of the vector for some evidence; every part of that evidence shares it.

    Attributes:
        scales: those on which somebody rated.
        row: of each of the evidence's standards, the row of its cuts; 0 is the common one.
    """

    scales: tuple[ScaleCuts, ...]
    row: Indices
    has_eta: bool

    @cached_property
    def size(self) -> int:
        """Numbers in the vector."""
        return sum(math.prod(cuts.shape) for cuts in self.scales) + int(self.has_eta)

    @cached_property
    def start(self) -> Floats:
        """The vector before anything is learned: cuts at the shares of the levels."""
        vector = np.zeros(self.size)
        for cuts in self.scales:
            vector[cuts.at][: len(cuts.start)] = cuts.start
        if self.has_eta:
            vector[-1] = np.log(_START_ETA)
        return vector

    @cached_property
    def precision(self) -> Floats:
        """How strongly each number is held to `start`."""
        found = np.full(self.size, _LOOSE**-2)
        for cuts in self.scales:
            own = np.full(cuts.shape, GAP_SPREAD**-2)
            own[:, 0] = RATER_SPREAD**-2
            found[cuts.at][len(cuts.start) :] = own[1:].ravel()
        return found

    def curvature(self, evidence: Evidence) -> Floats:
        """About the second derivative of the losses by each number."""
        compared, rated = evidence.ends
        weight, said = evidence.weight[compared:rated], evidence.ratings
        found = np.full(self.size, _CURVATURE * evidence.weight[:compared].sum())
        for cuts in self.scales:
            rows = evidence.on_scale.get(cuts.scale, _NONE)
            by_row = np.bincount(self.row[said.standard[rows]], weight[rows], cuts.shape[0])
            by_row[0] = by_row.sum()
            found[cuts.at] = _CURVATURE * np.repeat(by_row, cuts.shape[1])
        return found

    def eta(self, vector: Floats) -> float:
        """By how much a response must be better to be preferred; 0 where nobody says ties."""
        return float(np.exp(vector[-1])) if self.has_eta else 0.0

    def common_cuts(self, vector: Floats) -> dict[Scale, Floats]:
        """Of each scale the cuts of a rater nobody knows, ascending, shape (levels - 1,)."""
        return {cuts.scale: ordered_cuts(cuts.raw(vector)[0]) for cuts in self.scales}

    def rater_cuts(self, vector: Floats, scale: Scale) -> dict[str, Floats]:
        """Of each rater who used a scale the cuts, ascending, shape (levels - 1,)."""
        for cuts in self.scales:
            if cuts.scale == scale:
                own = ordered_cuts(cuts.raw(vector)[1:])
                return dict(zip(cuts.raters, own, strict=True))
        return {}


def lay_out(evidence: Evidence) -> Nuisance:
    """The vector that some evidence needs."""
    scales: list[ScaleCuts] = []
    row = np.zeros(len(evidence.standards), dtype=np.int64)
    at = 0
    for scale, rows in evidence.on_scale.items():
        own = [
            (place, one.rater)
            for place, one in enumerate(evidence.standards)
            if one.scale == scale and one.rater is not None
        ]
        weight = evidence.weight[evidence.ends[0] + rows]
        start = _start(evidence.ratings.level[rows], weight, LEVELS[scale])
        size = (1 + len(own)) * len(start)
        raters = tuple(rater for _, rater in own)
        scales.append(ScaleCuts(scale, slice(at, at + size), raters, start))
        row[[place for place, _ in own]] = 1 + np.arange(len(own))
        at += size
    return Nuisance(tuple(scales), row, bool(evidence.comparisons.is_tie.any()))


def _start(levels: Indices, weight: Floats, count: int) -> Floats:
    """Free numbers of the cuts at which equal rewards would give the levels their shares."""
    counts = np.bincount(levels, weight, count) + 0.5
    below = np.cumsum(counts)[:-1] / counts.sum()
    cuts = np.log(below) - np.log1p(-below)
    return np.concatenate([cuts[:1], np.log(np.diff(cuts))])
