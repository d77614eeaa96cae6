"""The training loop of every network: in each step every active task runs its batch, and the gradients are summed.

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
from .settings import Ema, Optimizer
from .state import State, load_state, newest_state, optimizer_tensors, restore_optimizer, save_state


@dataclass(frozen=True)
class StepReport:
    """One step: its number counted from 1, the loss of each task, and the norm of the gradients before clipping."""

    step: int
    losses: dict[str, float]
    norm: float


@dataclass(frozen=True)
class BatchLoss:
    """Losses of a (micro-)batch.

    Args:
        squared: mean squared error of each sample, (B,); carries gradients.
        direction: one minus the cosine between predicted and true velocity of each sample, (B,); carries gradients.
        t: flow time of each sample, (B,).
        patch: name of the patch size, for the log.
        tokens: number of tokens that the network processed.
    """

    squared: torch.Tensor
    direction: torch.Tensor
    t: torch.Tensor
    patch: str
    tokens: int


@dataclass(frozen=True)
class PeriodicEvaluation:
    """Something that is evaluated with the EMA weights every ``every`` steps, and after the last step.

    Args:
        every: steps between two evaluations.
        measure: ``measure(step)`` runs the network; every process calls it.
        write: ``write(step, measured)`` writes the result to the folder of the run; only the main process calls it.
    """

    every: int
    measure: Callable[[int], Any]
    write: Callable[[int, Any], object]


class Objective(Protocol):
    """What to train and on which data: ``VideoObjective`` or ``AudioObjective``."""

    @property
    def model(self) -> TrainableModel:
        """The network in training."""
        ...

    @property
    def batches(self) -> Sequence[Batches]:
        """The batches of each task."""
        ...

    @property
    def evaluations(self) -> Sequence[PeriodicEvaluation]:
        """What is evaluated during training."""
        ...

    @property
    def metadata(self) -> Mapping[str, str]:
        """Entries for the header of a saved checkpoint."""
        ...

    @property
    def direction_weight(self) -> float:
        """Weight of the cosine loss that is added to the squared error."""
        ...

    def sample(self, task: Any, ref: SampleRef, step: int, position: int) -> Any:
        """The training sample at a position of a step's batch.

        All random numbers must be keyed by seed, task, step and position, so that a resumed run sees the same sample.
        """
        ...

    def loss(self, task: Any, samples: list[Any]) -> BatchLoss:
        """Run the network on some samples of one task."""
        ...


class Settings(Protocol):
    """The fields of a recipe that the loop reads; see ``recipe.Recipe`` for their meaning."""

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
        """One optimizer step. Raises LuminaError if a loss or the gradients are not finite."""
        self.model.module.train()
        losses = {
            batches.task.name: self._accumulate(batches.task, batches.at(self.step))
            for batches in self.objective.batches
            if batches.active(self.step)
        }
        optimizer = self.settings.optimizer
        norm = float(gather_full(torch.nn.utils.clip_grad_norm_(list(self.names), optimizer.grad_clip)))
        # Summed first, so that all processes stop if the loss of one is not finite.
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
        """Accumulate gradients over this process's share of a batch; returns its part of the batch's mean loss."""
        total = 0.0
        for positions in self._micro_batches(task, len(refs)):
            samples = [self.objective.sample(task, refs[place], self.step, place) for place in positions]
            found = self.objective.loss(task, samples)
            squared, direction = found.squared.detach().cpu(), found.direction.detach().cpu()
            self.log.add(task.name, found.patch, found.t, squared, direction, found.tokens)
            loss = (found.squared + self.objective.direction_weight * found.direction).sum() / task.batch
            # FSDP averages gradients over the processes, but each loss is only a part of the sum.
            (loss * self.dist.size).backward()
            total += float(loss.detach())
        return total

    def _micro_batches(self, task: TaskSpec, count: int) -> Iterator[range]:
        """Positions of a batch that this process takes, split into micro-batches."""
        positions = self.dist.share(count)
        size = task.micro_batch or len(positions)
        for start in range(0, len(positions), size):
            yield positions[start : start + size]

    def _evaluate(self) -> None:
        """Run the evaluations that are due, with the EMA weights if the run has an EMA."""
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
            f"The loss of step {self.step + 1} is NaN or infinite ({worst}), and {kept}; lower the learning rate or "
            "check the data, then run again.",
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
