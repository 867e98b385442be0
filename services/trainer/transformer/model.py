"""A classifier with one output and, beside it, what turns its rewards into likelihoods.

Legend: m judgements, K items of the longest one, u distinct windows, R raters, S scales.
"""

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from services.trainer.likelihood.nuisance import GAP_SPREAD, RATER_SPREAD
from services.trainer.likelihood.terms import LEVELS
from services.trainer.transformer.batches import COMMON
from services.trainer.transformer.judgements import Judgement, Kind
from services.trainer.transformer.losses import (
    cumulative_link,
    ordered_cuts,
    plackett_luce,
    rao_kupper_tie,
    rao_kupper_win,
)

_MOST_CUTS = max(LEVELS.values()) - 1
_SPREAD_OF_RATERS = (RATER_SPREAD, *[GAP_SPREAD] * (_MOST_CUTS - 1))
_FIRST_ETA = -0.7  # ln of 0.5: a third of even pairs are ties


class Thresholds(nn.Module):
    """The cuts of each scale, how each rater's differ, and how much better a winner must be."""

    levels: Tensor

    def __init__(self, raters: int) -> None:
        """Cuts a nat apart around zero, alike for all of `raters` people."""
        super().__init__()
        levels = torch.tensor(list(LEVELS.values()))
        raw = torch.zeros(len(levels), _MOST_CUTS)
        raw[:, 0] = -(levels - 2) / 2.0
        self.raw = nn.Parameter(raw)
        self.shifts = nn.Parameter(torch.zeros(raters + 1, len(levels), _MOST_CUTS))
        self.log_eta = nn.Parameter(torch.tensor(_FIRST_ETA))
        self.register_buffer("levels", levels, persistent=False)

    def bounds(self, scale: Tensor, level: Tensor, rater: Tensor) -> tuple[Tensor, Tensor]:
        """The cuts below and above each rating's level, shape (m,); infinite at the ends."""
        own = self.shifts[rater, scale] * (rater != COMMON)[:, None]
        cuts = ordered_cuts(self.raw[scale] + own)
        ends = torch.full_like(cuts[:, :1], torch.inf)
        bounds = torch.cat([-ends, cuts, ends], dim=1)
        lower = bounds.gather(1, level[:, None])[:, 0]
        upper = bounds.gather(1, level[:, None] + 1)[:, 0]
        return lower, torch.where(level + 1 >= self.levels[scale], torch.inf, upper)

    def penalty(self) -> Tensor:
        """-log of the normal prior that shrinks raters' cuts to the common ones, nats."""
        return 0.5 * (self.shifts / self.shifts.new_tensor(_SPREAD_OF_RATERS)).square().sum()

    def report(self, said: Collection[Judgement]) -> dict[str, float]:
        """The common cuts and eta by name, such as `stars_cut_1`, as far as `said` is of them."""
        kinds = {one.kind for one in said}
        scales = {one.scale for one in said if one.kind is Kind.RATING}
        cuts = ordered_cuts(self.raw.detach()).cpu()
        found = {
            f"{scale}_cut_{at + 1}": float(cuts[row, at])
            for row, scale in enumerate(LEVELS)
            if scale in scales
            for at in range(LEVELS[scale] - 1)
        }
        return found | ({"tie_eta": math.exp(self.log_eta.item())} if Kind.TIE in kinds else {})

    def losses(self, rewards: Tensor, said: dict[str, Tensor]) -> Tensor:
        """Negative log-likelihood of each judgement, shape (m,), from rewards of shape (u,)."""
        items = rewards[said["places"].clamp(min=0)]
        losses = torch.zeros_like(items[:, 0])
        for kind in Kind:
            at = torch.nonzero(said["kind"] == kind)[:, 0]
            if len(at):
                some = {name: value[at] for name, value in said.items()}
                losses = losses.index_put((at,), self._term(kind, items[at], some))
        return losses

    def _term(self, kind: Kind, items: Tensor, said: dict[str, Tensor]) -> Tensor:
        """What judgements of one kind cost, from the rewards of their items, best first."""
        if kind is Kind.RATING:
            lower, upper = self.bounds(said["scale"], said["level"], said["rater"])
            return cumulative_link(items[:, 0], lower, upper)
        if kind is Kind.RANKING:
            return plackett_luce(items, said["places"] >= 0)
        margins, eta = items[:, 0] - items[:, 1], self.log_eta.exp()
        if kind is Kind.TIE:
            return rao_kupper_tie(margins, eta)
        return rao_kupper_win(margins, torch.where(said["can_tie"], eta, 0.0))


class RewardLikelihood(nn.Module):
    """The classifier and the thresholds together: batches in, a loss out."""

    def __init__(
        self, classifier: nn.Module, thresholds: Thresholds, *, centring: float, judgements: int
    ) -> None:
        """Learn with the coefficient `centring` from so many judgements in all."""
        super().__init__()
        self.classifier = classifier
        self.thresholds = thresholds
        self._centring = centring
        self._judgements = judgements

    def rewards(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """One reward a window, shape (u,)."""
        read = self.classifier(input_ids=input_ids, attention_mask=attention_mask)
        return torch.as_tensor(read.logits[:, 0].float())

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **said: Tensor) -> dict[str, Any]:
        """The mean weighted loss, nats; in training with the priors on rewards and on cuts."""
        rewards = self.rewards(input_ids, attention_mask)
        loss = (self.thresholds.losses(rewards, said) * said["weight"]).mean()
        if self.training:
            loss = loss + self._centring * _off_centre(rewards, said)
            loss = loss + self.thresholds.penalty() / self._judgements
        return {"loss": loss}


def _off_centre(rewards: Tensor, said: dict[str, Tensor]) -> Tensor:
    """Mean square of twice the mean reward of each comparison; comparisons fix no level.

    Source: Eisenstein et al. 2023, arXiv:2312.09244, eq. 4.
    """
    is_there = (said["places"] >= 0) & (said["kind"] != Kind.RATING)[:, None]
    items = rewards[said["places"].clamp(min=0)] * is_there
    means = items.sum(dim=1) / is_there.sum(dim=1).clamp(min=1)
    return (2.0 * means).square().mean()
