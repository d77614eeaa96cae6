"""The training loop, the same for every network: in each step every task takes its batch, and the gradients add up.

Source: paper, algorithm 1.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import LuminaError
from .batches import Batches, Pick, Share
from .distributed import Processes, whole
from .ema import averaged, follow
from .log import TrainingLog
from .network import Trained
from .objective import item_losses
from .state import State, load_state, newest_state, optimizer_tensors, restore_optimizer, save_state
from .validate import write_losses


@dataclass(frozen=True)
class StepReport:
    """One step: its number counted from 1, the loss of each task, and the gradients' norm before clipping."""

    step: int
    losses: dict[str, float]
    norm: float


class Trainer(ABC):
    """One run of a recipe, from its newest saved state or from the start. Raises LuminaError for what does not fit.

    A subclass says what an item is and what the network is asked of it.

    Args:
        recipe: has out, steps, optimizer, ema, precision, validation, log_every, save_every and keep.
        device: that the network is on.
        network: to train.
        batches: of every task.
        held_out: where the recipe has a validation; ``losses(step, velocity)`` measures it.
        metadata: for the header of a saved checkpoint.
        direction_weight: weight of one minus the cosine beside the squared error.
    """

    def __init__(
        self,
        recipe: Any,
        processes: Processes,
        device: torch.device,
        network: Trained,
        batches: Sequence[Batches],
        held_out: Any,
        metadata: Mapping[str, str],
        direction_weight: float = 0.0,
    ):
        self.recipe, self.processes, self.device = recipe, processes, device
        self.network, self.batches, self.held_out = network, batches, held_out
        self.metadata, self.direction_weight = metadata, direction_weight
        self.names = {parameter: name for name, parameter in self.network.trained()}
        settings = recipe.optimizer
        self.optimizer = torch.optim.AdamW(
            list(self.names), settings.learning_rate, settings.betas, settings.eps, settings.weight_decay
        )
        self.ema = {name: parameter.detach().clone() for parameter, name in self.names.items()} if recipe.ema else {}
        self.step = 0
        self._resume()
        self.log = TrainingLog(recipe.out if processes.first else None, self.step)

    def run(self, report: Callable[[StepReport], None] = lambda report: None) -> None:
        """Train to the recipe's last step; ``report`` is called after each step.

        Raises LuminaError when a loss is not finite; the last saved state stays.
        """
        since, started = self.step, time.perf_counter()
        while self.step < self.recipe.steps:
            done = self.train_step()
            if self._due(self.recipe.log_every):
                self._write_log(done.norm, (time.perf_counter() - started) / (self.step - since))
                since, started = self.step, time.perf_counter()
            report(done)
            if self._due(self.recipe.save_every):
                self.save()
            self._look()

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.recipe.steps

    def _look(self) -> None:
        """Held-out losses, where this step asks for them. All processes run the network."""
        if self.held_out and self._due(self.recipe.validation.every):
            with averaged(self.network.module, self.ema, self.names):
                losses = self.held_out.losses(self.step, self._velocity)
            if self.processes.first:
                write_losses(self.recipe.out, losses)

    def train_step(self) -> StepReport:
        """One step of the optimizer."""
        self.network.module.train()
        losses = {
            batches.task.name: self._accumulate(batches.task, batches.at(self.step))
            for batches in self.batches
            if batches.active(self.step)
        }
        settings = self.recipe.optimizer
        norm = float(whole(torch.nn.utils.clip_grad_norm_(list(self.names), settings.grad_clip)))
        # Summed first: when a loss of one process is not finite, all of them stop.
        totals = self.processes.sum(torch.tensor(list(losses.values()), dtype=torch.float64)).tolist()
        losses = dict(zip(losses, totals, strict=True))
        self._check_finite(losses, norm)
        self.optimizer.param_groups[0]["lr"] = settings.rate(self.step, self.recipe.steps)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if self.recipe.ema and self.step % self.recipe.ema.every == 0:
            follow(self.ema, self.names, self.recipe.ema.decay)
        return StepReport(self.step, losses, norm)

    def save(self) -> None:
        """Write the state of the current step."""
        state = State(
            step=self.step,
            weights=self.network.whole(dict(self.network.saved())),
            ema=self.network.whole({**dict(self.network.saved()), **self.ema} if self.ema else {}),
            optimizer=self.network.whole(optimizer_tensors(self.optimizer, self.names)),
            lora=self.network.lora,
        )
        if self.processes.first:
            save_state(self.recipe.out, state, self.metadata, self.recipe.keep)

    def _write_log(self, norm: float, seconds: float) -> None:
        rate = self.optimizer.param_groups[0]["lr"]
        rows = self.processes.sum(self.log.gathered()[1])
        self.log.write(self.step, rows, self.direction_weight, norm, rate, seconds)

    def _accumulate(self, task: Share, picks: list[Pick]) -> float:
        """Add the gradients of this process's share of a task's batch; returns its part of the batch's mean loss."""
        places = self.processes.share(len(picks))
        size, total = task.micro_batch or len(places), 0.0
        for start in range(0, len(places), size):
            items = [self._item(task, picks[place], place) for place in places[start : start + size]]
            loss = self._loss(task, items).sum() / task.batch
            # Gradients are averaged over the processes, and each holds only its part of the sum.
            (loss * self.processes.size).backward()
            total += float(loss.detach())
        return total

    def _measured(
        self,
        task: Share,
        patch: str,
        t: torch.Tensor,
        velocity: torch.Tensor,
        data: torch.Tensor,
        noise: torch.Tensor,
        tokens: int,
    ) -> torch.Tensor:
        """Loss of each item (B,), from the network's velocity of so many tokens; it is put into the log, too."""
        squared, direction = item_losses(velocity, data, noise)
        self.log.add(task.name, patch, t, squared.detach().cpu(), direction.detach().cpu(), tokens)
        return squared + self.direction_weight * direction

    def _precision(self) -> torch.autocast:
        """What the network runs under."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16")

    @abstractmethod
    def _item(self, task: Any, pick: Pick, place: int) -> Any:
        """The item of a place in a step's batch; everything random in it comes from the seed, task, step and place."""

    @abstractmethod
    def _loss(self, task: Any, items: list) -> torch.Tensor:
        """Loss of each item, (B,), as ``_measured`` gives it."""

    @abstractmethod
    def _velocity(self, x: torch.Tensor, t: torch.Tensor, *conditions: Any) -> torch.Tensor:
        """The network's velocity of noised items (B, ...), in the recipe's precision."""

    def _check_finite(self, losses: dict[str, float], norm: float) -> None:
        if all(map(math.isfinite, (*losses.values(), norm))):
            return
        worst = next((name for name, loss in losses.items() if not math.isfinite(loss)), "the gradients")
        last = newest_state(self.recipe.out)
        kept = f"the last saved state is {last}" if last else "no state was saved yet"
        raise LuminaError(
            f"Step {self.step + 1} gave a loss that is not a finite number ({worst}), and {kept}; "
            "lower the learning rate or check the data, and run again."
        )

    def _resume(self) -> None:
        folder = newest_state(self.recipe.out)
        state = load_state(folder) if folder else None
        self.processes.check_same_step(state.step if state else 0)
        if state is None:
            return
        self.network.load(dict(self.network.saved()), state.weights, folder)
        if self.ema:
            self.network.load(self.ema, {name: state.ema[name] for name in self.ema if name in state.ema}, folder)
        restore_optimizer(self.optimizer, self.names, self.network.parts(state.optimizer, self.names))
        self.step = state.step
