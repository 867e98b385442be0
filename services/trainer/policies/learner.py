"""What PPO trains: the policy with a value for each token, its start, and an optimizer.

Everything that the next step depends on is in a checkpoint, so a killed run goes on as if nothing
had been: weights, optimizer, generators of random numbers, the price of distance and what was told.
"""

import copy
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from services.trainer.checkpoints import PPO_STATE
from services.trainer.launchers import world
from services.trainer.policies.generation import places_of
from services.trainer.policies.opening import Opened, can_bf16, lora_of, merged
from services.trainer.policies.params import PolicyParams
from shared.files import flush_tree

Tensors = dict[str, Tensor]

_TENSORS = "state.safetensors"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # of AdamW


@dataclass(frozen=True)
class State:
    """Where a run is: steps done, the price of a nat, and the numbers of every step."""

    price: float
    step: int = 0
    history: tuple[Mapping[str, float], ...] = ()

    def next(self, numbers: Mapping[str, float], *, price: float) -> "State":
        """After one more step."""
        return State(price, self.step + 1, (*self.history, numbers))


class Learner:
    """The policy in training; see the module."""

    def __init__(self, policy: Any, start: Any, values: nn.Linear, params: PolicyParams) -> None:
        self.policy, self._start, self._values = policy, start, values
        trained = [one for one in policy.parameters() if one.requires_grad]
        self._trained = [*trained, *values.parameters()]
        self._optimizer = torch.optim.AdamW(
            self._trained, lr=params.learning_rate, weight_decay=0.0
        )
        self._device = next(policy.parameters()).device
        self._bf16, self._temperature = can_bf16(params), params.temperature

    @classmethod
    def open(cls, opened: Opened, params: PolicyParams) -> "Learner":
        """The policy as it starts, with values of 0; adapters where they are asked for."""
        model, adapters = opened.model, lora_of(params)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if adapters is None:
            start = copy.deepcopy(model).requires_grad_(requires_grad=False).eval()
        else:
            from peft import get_peft_model

            model, start = get_peft_model(model, adapters), None
        if params.gradient_checkpointing:
            opened.model.activation_checkpointing_enable()
            model.train()  # layers checkpoint only in this mode
        width = model.get_input_embeddings().weight.shape[1]
        values = nn.Linear(width, 1)
        nn.init.zeros_(values.weight)
        nn.init.zeros_(values.bias)
        ready = model.to(device), start.to(device) if start is not None else None
        return cls(*ready, values.to(device), params)

    @contextmanager
    def start(self) -> Iterator[Any]:
        """The policy as it was before the first step."""
        with self.policy.disable_adapter() if self._start is None else nullcontext():
            yield self._start or self.policy

    def read(self, ids: Tensor, mask: Tensor, response: int) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities (n, r), distributions (n, r, v) and values (n, r) of responses."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            found = self.policy(
                input_ids=ids, attention_mask=mask, position_ids=places_of(mask),
                output_hidden_states=True, use_cache=False,
            )  # fmt: skip
        logits = found.logits[:, -response - 1 : -1].float() / self._temperature
        spread = torch.log_softmax(logits, dim=-1)
        chosen = spread.gather(2, ids[:, -response:, None])[..., 0]
        states = found.hidden_states[-1][:, -response - 1 : -1].float()
        return chosen, spread, self._values(states)[..., 0]

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss."""
        loss.backward()  # type: ignore[no-untyped-call]

    def move(self, most: float) -> None:
        """One step along the gradients, cut to a norm of `most`."""
        world.average(one.grad for one in self._trained if one.grad is not None)
        torch.nn.utils.clip_grad_norm_(self._trained, most)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def save(self, work: Path, state: State) -> None:
        """Keep a checkpoint, whole or not at all, and no older one."""
        random = world.gathered(_random_state())
        if world.is_main():
            self._write(work, state, random)

    def _write(self, work: Path, state: State, random: Sequence[Tensors]) -> None:
        aside, place = work / ".checkpoint.partial", work / f"checkpoint-{state.step}"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        numbers = {
            f"random.{rank}.{name}": one
            for rank, states in enumerate(random)
            for name, one in states.items()
        }
        save_file(self._weights() | self._moments() | numbers, aside / _TENSORS)
        told = {"price": state.price, "step": state.step, "history": list(state.history)}
        (aside / PPO_STATE).write_text(json.dumps(told), encoding="utf-8")
        flush_tree(aside)
        shutil.rmtree(place, ignore_errors=True)
        aside.rename(place)
        for older in work.glob("checkpoint-*"):
            if older != place:
                shutil.rmtree(older)

    def resumed(self, work: Path) -> State | None:
        """Where an earlier attempt had come, now here too; None when it left nothing."""
        kept = sorted(work.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
        if not kept:
            return None
        found = load_file(kept[-1] / _TENSORS)
        for name, one in self._named():
            one.data.copy_(found[name])
            self._optimizer.state[one] = {
                moment: found[f"{moment}.{name}"].to(one.device if moment != "step" else "cpu")
                for moment in _MOMENTS
                if f"{moment}.{name}" in found
            }
        _set_random_state(found, world.place().rank or 0)
        told = json.loads((kept[-1] / PPO_STATE).read_text(encoding="utf-8"))
        return State(told["price"], told["step"], tuple(told["history"]))

    def finished(self) -> Any:
        """The policy in one piece."""
        return merged(self.policy)

    def _weights(self) -> Tensors:
        return {name: one.detach().cpu().contiguous() for name, one in self._named()}

    def _moments(self) -> Tensors:
        """What AdamW remembers of each weight."""
        return {
            f"{moment}.{name}": self._optimizer.state[one][moment].detach().cpu().contiguous()
            for name, one in self._named()
            for moment in self._optimizer.state.get(one, {})
        }

    def _named(self) -> Iterator[tuple[str, nn.Parameter]]:
        for name, one in self.policy.named_parameters():
            if one.requires_grad:
                yield name, one
        for name, one in self._values.named_parameters():
            yield f"values.{name}", one


def _random_state() -> Tensors:
    on_gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state()} | {f"cuda{at}": one for at, one in enumerate(on_gpu)}


def _set_random_state(found: Tensors, rank: int) -> None:
    """Go on with the numbers of this rank; with fresh ones where there were fewer processes."""
    if (state := found.get(f"random.{rank}.cpu")) is not None:
        torch.set_rng_state(state)
    for at in range(torch.cuda.device_count()):
        if (state := found.get(f"random.{rank}.cuda{at}")) is not None:
            torch.cuda.set_rng_state(state, at)
