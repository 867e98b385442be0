"""The last layer and the thresholds fitted on what the untouched model says: seconds, no step.

A fresh last layer would send large, random gradients through pretrained weights before it knows
anything. Fitted first, it makes fine-tuning start where a linear model on frozen features ends.

Legend: u distinct windows, h width of the last layer's input, m judgements.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from services.trainer.transformer.batches import Collator, Ids
from services.trainer.transformer.judgements import TokenJudgement
from services.trainer.transformer.model import RewardLikelihood, Thresholds
from shared.errors import ConfigError
from shared.ml.pooled import last_layers, rows_read

# L2 on standardised weights, the strongest first: a few hundred judgements of answers hard to tell
# apart carry a few of several hundred features.
_GRID = (30_000.0, 10_000.0, 3000.0, 1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3)
_LBFGS_STEPS = 60
_LEAST_SPREAD = 1e-6
_NOTHING: Mapping[Ids, Tensor] = MappingProxyType({})


@dataclass(frozen=True)
class FittedHead:
    """The validation loss of the fitted last layer, nats, and the L2 penalty it chose."""

    loss: float
    penalty: float


def fit_head(
    model: RewardLikelihood,
    collator: Collator,
    kept: Sequence[TokenJudgement],
    held: Sequence[TokenJudgement],
    *,
    batch_size: int,
    known: Mapping[Ids, Tensor] = _NOTHING,
) -> FittedHead:
    """Set the last layer and the thresholds to the fit whose loss on `held` is lowest.

    Features of windows that are `known` are not read again.

    Raises:
        ConfigError: the model's last layer cannot be told.
    """
    last = last_layer(model.classifier)
    windows = list(dict.fromkeys(ids for row in (*kept, *held) for ids in row.windows))
    features = _features(model, collator, windows, batch_size=batch_size, known=known)
    used = torch.unique(collator.terms(kept, windows)["places"])
    seen = features[used[used >= 0]]
    centre, spread = seen.mean(dim=0), seen.std(dim=0, correction=0).clamp(min=_LEAST_SPREAD)
    del seen
    scaled = features.sub_(centre).div_(spread)
    if last.bias is None:  # as in decoders: nothing can take the centre back, so nothing may add it
        scaled = _without(scaled, centre / spread)
    path = _Path(scaled, collator.terms(kept, windows), collator.terms(held, windows), model)
    loss, penalty, weights, thresholds = path.best()
    with torch.no_grad():
        last.weight.copy_((weights / spread)[None])
        if last.bias is not None:
            last.bias.fill_(float(-(weights / spread) @ centre))
    model.thresholds.load_state_dict(thresholds)
    return FittedHead(loss, penalty)


def last_layer(classifier: nn.Module) -> nn.Linear:
    """The linear layer that gives the one reward.

    Raises:
        ConfigError: there is none, or more than one.
    """
    found = _trained_last_layers(classifier)
    if len(found) != 1:
        raise ConfigError(
            "The model has no single last layer with one output; train without head_first."
        )
    return found[0]


def has_last_layer(classifier: nn.Module) -> bool:
    """Whether a single linear layer gives the reward."""
    return len(_trained_last_layers(classifier)) == 1


def _trained_last_layers(classifier: nn.Module) -> list[nn.Linear]:
    """Without the untrained copies that adapters keep."""
    return [layer for layer in last_layers(classifier) if layer.weight.requires_grad]


def frozen_features(
    model: RewardLikelihood, collator: Collator, windows: Sequence[Ids], *, batch_size: int
) -> Tensor:
    """What reaches the last layer of each window, shape (u, h), float64, on the CPU."""
    caught: list[Tensor] = []
    handle = last_layer(model.classifier).register_forward_pre_hook(
        lambda _layer, inputs: caught.append(inputs[0].detach())
    )
    device = next(model.parameters()).device
    model.eval()
    order = np.argsort([len(ids) for ids in windows], kind="stable")
    found = []
    with torch.no_grad():
        for start in range(0, len(order), 2 * batch_size):
            batch = collator.read([windows[at] for at in order[start : start + 2 * batch_size]])
            model.rewards(**{name: ids.to(device) for name, ids in batch.items()})
            read = rows_read(caught.pop(), batch["input_ids"], collator.pad)
            found.append(read.double().cpu())
    handle.remove()
    if not found:
        return torch.empty(0, last_layer(model.classifier).in_features, dtype=torch.float64)
    return torch.cat(found)[torch.from_numpy(np.argsort(order))]


def _features(
    model: RewardLikelihood,
    collator: Collator,
    windows: Sequence[Ids],
    *,
    batch_size: int,
    known: Mapping[Ids, Tensor],
) -> Tensor:
    new = [ids for ids in windows if ids not in known]
    read = frozen_features(model, collator, new, batch_size=batch_size)
    if len(new) == len(windows):
        return read
    rows = dict(zip(new, read, strict=True))
    return torch.stack([rows[ids] if ids in rows else known[ids].double() for ids in windows])


def _without(rows: Tensor, direction: Tensor) -> Tensor:
    """Rows without their part in one direction; weights fitted on them have none either."""
    unit = direction / direction.norm().clamp(min=_LEAST_SPREAD)
    return rows.sub_((rows @ unit)[:, None] * unit)


class _Path:
    """Fits along the grid of penalties, each starting from the one before it."""

    def __init__(
        self,
        features: Tensor,
        kept: dict[str, Tensor],
        held: dict[str, Tensor],
        model: RewardLikelihood,
    ) -> None:
        self._features = features
        self._kept, self._held = kept, held
        self._thresholds = Thresholds(model.thresholds.shifts.shape[0] - 1).double()
        self._weights = nn.Parameter(torch.zeros(features.shape[1], dtype=torch.float64))

    def best(self) -> tuple[float, float, Tensor, dict[str, Tensor]]:
        """Validation loss, penalty, weights on standardised features and thresholds."""
        found = [self._fitted(penalty) for penalty in _GRID]
        return min(found, key=lambda fit: fit[0])

    def _fitted(self, penalty: float) -> tuple[float, float, Tensor, dict[str, Tensor]]:
        free = [self._weights, *self._thresholds.parameters()]
        search = torch.optim.LBFGS(free, max_iter=_LBFGS_STEPS, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            search.zero_grad()
            loss = self._mean_loss(self._kept) * len(self._kept["kind"])
            loss = loss + 0.5 * penalty * self._weights.square().sum() + self._thresholds.penalty()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        search.step(closure)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            held = float(self._mean_loss(self._held))
        state = {name: one.clone() for name, one in self._thresholds.state_dict().items()}
        return held, penalty, self._weights.detach().clone(), state

    def _mean_loss(self, said: dict[str, Tensor]) -> Tensor:
        rewards = self._features @ self._weights
        return (self._thresholds.losses(rewards, said) * said["weight"]).mean()
