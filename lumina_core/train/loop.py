"""The training loop, the same for every network: in each step every task takes its batch, and the gradients add up.

Source: paper, algorithm 1.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from ..errors import LuminaError
from ..runtime.tensor_files import Weights
from . import ema
from .batches import Batches, SampleRef, TaskSpec
from .distributed import SINGLE, DistContext, gather_full
from .log import TrainingLog
from .network import TrainableModel
from .recipe import Ema, Optimizer
from .state import State, load_state, newest_state, optimizer_tensors, restore_optimizer, save_state


@dataclass(frozen=True)
class StepReport:
    """One step: its number counted from 1, the loss of each task, and the gradients' norm before clipping."""

    step: int
    losses: dict[str, float]
    norm: float


@dataclass(frozen=True)
class BatchLoss:
    """What a network's velocity of a batch is worth.

    Args:
        squared: mean squared error of each sample, (B,); carries gradients.
        direction: one minus the cosine of each sample's velocity with the true one, (B,); carries gradients.
        t: flow time of each sample, (B,).
        patch: name of the patch size, for the log.
        tokens: that the network read.
    """

    squared: torch.Tensor
    direction: torch.Tensor
    t: torch.Tensor
    patch: str
    tokens: int


@dataclass(frozen=True)
class Evaluation:
    """Something that is measured with the averaged weights every ``every`` steps, and after the last one.

    Args:
        every: steps between two of them.
        measure: ``measure(step)`` runs the network; every process calls it.
        write: ``write(step, measured)`` puts the result into the run's folder; the main process alone calls it.
    """

    every: int
    measure: Callable[[int], Any]
    write: Callable[[int, Any], object]


class Objective(Protocol):
    """What a network learns and from what: ``VideoObjective`` and ``AudioObjective``."""

    @property
    def model(self) -> TrainableModel: ...
    @property
    def batches(self) -> Sequence[Batches]:
        """Of every task."""
        ...

    @property
    def evaluations(self) -> Sequence[Evaluation]: ...
    @property
    def metadata(self) -> Mapping[str, str]:
        """For the header of a saved checkpoint."""
        ...

    @property
    def direction_weight(self) -> float:
        """Weight of the direction error beside the squared error."""
        ...

    def sample(self, task: Any, ref: SampleRef, step: int, position: int) -> Any:
        """The training sample at a position of a step's batch. All that is random in it follows from the recipe's seed,
        the task, the step and the position, so that a resumed run sees the same."""
        ...

    def loss(self, task: Any, samples: list[Any]) -> BatchLoss:
        """Run the network on some samples of one task."""
        ...


class Settings(Protocol):
    """What the loop reads of a recipe; see ``recipe.Recipe`` for the meaning."""

    @property
    def out(self) -> Path: ...
    @property
    def steps(self) -> int: ...
    @property
    def optimizer(self) -> Optimizer: ...
    @property
    def ema(self) -> Ema | None: ...
    @property
    def log_every(self) -> int: ...
    @property
    def save_every(self) -> int: ...
    @property
    def keep(self) -> int: ...


class Trainer:
    """One run: optimizer, EMA, log and saved states around an objective.

    Resumes from the newest state in ``settings.out``; without one it starts at step 0.

    Args:
        settings: the recipe.
        objective: the network, its data and its loss.
        dist: the processes that share the run.

    Raises:
        LuminaError: the saved state does not fit the network.
    """

    def __init__(self, settings: Settings, objective: Objective, dist: DistContext = SINGLE):
        self.settings, self.objective, self.dist = settings, objective, dist
        self.model = objective.model
        self.names = {parameter: name for name, parameter in self.model.trained()}
        self.optimizer = settings.optimizer.build(list(self.names))
        self.ema: Weights = {}
        if settings.ema:
            self.ema = {name: parameter.detach().clone() for parameter, name in self.names.items()}
        self.step = 0
        self._resume()
        self.log = TrainingLog(settings.out if dist.is_main else None, self.step)

    def run(self, report: Callable[[StepReport], None] = lambda report: None) -> None:
        """Train to the last step.

        Args:
            report: called after each step, before the step is saved and evaluated.

        Raises:
            LuminaError: a loss or gradient is not finite (the last saved state stays), or a state cannot be saved.
        """
        last_logged, started = self.step, time.perf_counter()
        while self.step < self.settings.steps:
            done = self.train_step()
            if self._due(self.settings.log_every):
                self._write_log(done.norm, (time.perf_counter() - started) / (self.step - last_logged))
                last_logged, started = self.step, time.perf_counter()
            report(done)
            if self._due(self.settings.save_every):
                self.save()
            self._evaluate()

    def train_step(self) -> StepReport:
        """One step of the optimizer. Raises LuminaError when a loss or the gradients are not finite."""
        self.model.module.train()
        losses = {
            batches.task.name: self._accumulate(batches.task, batches.at(self.step))
            for batches in self.objective.batches
            if batches.active(self.step)
        }
        optimizer = self.settings.optimizer
        norm = float(gather_full(torch.nn.utils.clip_grad_norm_(list(self.names), optimizer.grad_clip)))
        # Summed first: when a loss of one process is not finite, all of them stop.
        totals = self.dist.sum(torch.tensor(list(losses.values()), dtype=torch.float64)).tolist()
        losses = dict(zip(losses, totals, strict=True))
        self._check_finite(losses, norm)
        self.optimizer.param_groups[0]["lr"] = optimizer.rate(self.step, self.settings.steps)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if self.settings.ema and self.step % self.settings.ema.every == 0:
            ema.update(self.ema, self.names, self.settings.ema.decay)
        return StepReport(self.step, losses, norm)

    def save(self) -> None:
        """Write the state of the current step. All processes must call it. Raises LuminaError."""
        saved = dict(self.model.saved())
        state = State(
            step=self.step,
            weights=self.model.gather(saved),
            ema=self.model.gather({**saved, **self.ema} if self.ema else {}),
            optimizer=self.model.gather(optimizer_tensors(self.optimizer, self.names)),
            lora=self.model.lora,
        )
        if self.dist.is_main:
            save_state(self.settings.out, state, self.objective.metadata, self.settings.keep)

    def _accumulate(self, task: TaskSpec, refs: list[SampleRef]) -> float:
        """Add the gradients of this process's share of a task's batch; returns its part of the batch's mean loss."""
        total = 0.0
        for positions in self._micro_batches(task, len(refs)):
            samples = [self.objective.sample(task, refs[place], self.step, place) for place in positions]
            found = self.objective.loss(task, samples)
            squared, direction = found.squared.detach().cpu(), found.direction.detach().cpu()
            self.log.add(task.name, found.patch, found.t, squared, direction, found.tokens)
            loss = (found.squared + self.objective.direction_weight * found.direction).sum() / task.batch
            # Gradients are averaged over the processes, and each holds only its part of the sum.
            (loss * self.dist.size).backward()
            total += float(loss.detach())
        return total

    def _micro_batches(self, task: TaskSpec, count: int) -> Iterator[range]:
        """The positions of a batch that this process takes, as many as run at once."""
        positions = self.dist.share(count)
        size = task.micro_batch or len(positions)
        for start in range(0, len(positions), size):
            yield positions[start : start + size]

    def _evaluate(self) -> None:
        """What the objective measures, where it is due; with the averaged weights where the run keeps an average."""
        for evaluation in self.objective.evaluations:
            if not self._due(evaluation.every):
                continue
            with ema.applied(self.model.module, self.ema, self.names):
                measured = evaluation.measure(self.step)
            if self.dist.is_main:
                evaluation.write(self.step, measured)

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.settings.steps

    def _write_log(self, norm: float, seconds: float) -> None:
        rate = self.optimizer.param_groups[0]["lr"]
        rows = self.dist.sum(self.log.gathered()[1])
        self.log.write(self.step, rows, self.objective.direction_weight, norm, rate, seconds)

    def _check_finite(self, losses: dict[str, float], norm: float) -> None:
        if all(map(math.isfinite, (*losses.values(), norm))):
            return
        worst = next((name for name, loss in losses.items() if not math.isfinite(loss)), "the gradients")
        last = newest_state(self.settings.out)
        kept = f"the last saved state is {last}" if last else "no state was saved yet"
        raise LuminaError(
            f"Step {self.step + 1} gave a loss that is not a finite number ({worst}), and {kept}; "
            "lower the learning rate or check the data, and run again.",
            field="learning_rate",
            kind="numerics",
        )

    def _resume(self) -> None:
        folder = newest_state(self.settings.out)
        state = load_state(folder) if folder else None
        self.dist.check_same_step(state.step if state else 0)
        if folder is None or state is None:
            return
        self.model.load(dict(self.model.saved()), state.weights, folder)
        if self.ema:
            self.model.load(self.ema, {name: state.ema[name] for name in self.ema if name in state.ema}, folder)
        moments = self.model.distribute_moments(state.optimizer, self.names)
        restore_optimizer(self.optimizer, self.names, moments)
        self.step = state.step
