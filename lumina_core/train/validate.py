"""Held-out loss of each patch size in windows of t, for each source (paper, figure 3).

Samples, noise and timesteps are the same at every step, so that steps and runs can be compared.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import torch

from ..errors import LuminaError
from ..runtime.atomic import atomic_write
from ..sampling.denoiser import NO_MOTION
from ..sampling.noise import noised
from .batches import crop_shape
from .objective import sample_losses
from .recipe import Recipe, Source, Task
from .rng import generator
from .settings import Validation
from .shards import EncodedSet
from .training_sample import crop_latents

FILE = "validation.csv"
# Batch size of the evaluation.
BATCH = 16

# ``velocity(x, t, texts, motion, task)`` of noised samples (B, C, F, H, W).
Velocity = Callable[[torch.Tensor, torch.Tensor, list[str], torch.Tensor, Task], torch.Tensor]


@dataclass(frozen=True)
class WindowLoss:
    """Mean squared error of one source and task in one window of t, ``from_t`` to ``to_t``; a row of validation.csv.

    ``items`` is the number of samples.
    """

    step: int
    source: str
    task: str
    patch: str
    window: int
    from_t: float
    to_t: float
    items: int
    squared_error: float


class HeldOut:
    """The held-out data sets of a recipe's sources.

    Args:
        recipe: its sources, tasks and ``validation``.

    Raises:
        LuminaError: there is none, or one is damaged, or no task can use one.
    """

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.settings = recipe.validation or Validation()
        self.sets = {
            name: EncodedSet(source.held_out) for name, source in recipe.sources.items() if source.held_out is not None
        }
        check_held_out(self.sets)
        for name, held_out in self.sets.items():
            if not any(self._indices(held_out, task) for task in self._tasks(name)):
                raise LuminaError(
                    f"No task can use the held-out data {held_out.folder} of source {name}; encode it with the same "
                    "settings as the training data.",
                    field="held_out",
                    kind="mismatch",
                )

    def losses(self, step: int, velocity: Velocity) -> list[WindowLoss]:
        """The losses of all sources, tasks and windows; ``step`` is copied into them."""
        found = []
        for name, held_out in self.sets.items():
            for task in self._tasks(name):
                found += self._task_losses(step, self.recipe.sources[name], held_out, task, velocity)
        return found

    def _tasks(self, source: str) -> list[Task]:
        return [task for task in self.recipe.tasks.values() if source in (task.sources or self.recipe.sources)]

    def _task_losses(
        self, step: int, source: Source, held_out: EncodedSet, task: Task, velocity: Velocity
    ) -> list[WindowLoss]:
        indices = self._indices(held_out, task)
        if not indices:
            return []
        errors = torch.zeros(self.settings.windows, dtype=torch.float64)
        for start in range(0, len(indices), BATCH):
            errors += self._batch_errors(source, held_out, task, indices[start : start + BATCH], velocity)
        return window_losses(step, source.name, task.name, task.patch, len(indices), errors)

    def _indices(self, held_out: EncodedSet, task: Task) -> list[int]:
        """Indices of the first entries that the task can use and that have the shape of the first one."""
        usable = [
            (index, crop_shape(entry.shape, task))
            for index, entry in enumerate(held_out.entries)
            if entry.kind == task.media and min(crop_shape(entry.shape, task)) > 0
        ]
        return [index for index, shape in usable if shape == usable[0][1]][: self.settings.items]

    def _batch_errors(
        self, source: Source, held_out: EncodedSet, task: Task, indices: list[int], velocity: Velocity
    ) -> torch.Tensor:
        """Squared error in each window, summed over the samples, (windows,)."""
        windows, seed = self.settings.windows, self.recipe.seed
        rngs = [generator(seed, "validation", source.name, task.name, index) for index in indices]
        entries = [held_out.entries[index] for index in indices]
        shape = crop_shape(entries[0].shape, task)
        latents = map(held_out.latents, indices)
        data = torch.stack([crop_latents(each, shape, rng) for each, rng in zip(latents, rngs, strict=True)])
        noise = torch.stack([torch.randn(data.shape[1:], generator=rng) for rng in rngs])
        offset = torch.stack([torch.rand((), generator=rng) for rng in rngs])
        texts = [source.system_prompt + entry.caption for entry in entries]
        motion = torch.tensor([NO_MOTION if entry.motion is None else entry.motion for entry in entries])
        errors = torch.zeros(windows, dtype=torch.float64)
        for window in range(windows):
            t = (window + offset) / windows
            found = velocity(noised(data, noise, t), t, texts, motion, task).cpu()
            errors[window] = sample_losses(found, data, noise)[0].double().sum()
        return errors


def check_held_out(sets: Mapping[str, object]) -> None:
    """Check that there is at least one held-out data set. Raises LuminaError."""
    if not sets:
        raise LuminaError(
            "The recipe has validation, but no source has held_out; add held_out to a source, or remove validation.",
            field="held_out",
            kind="missing",
        )


def window_losses(step: int, source: str, task: str, patch: str, items: int, errors: torch.Tensor) -> list[WindowLoss]:
    """One loss per window.

    Args:
        step, source, task, patch: copied into each loss.
        items: number of samples.
        errors: squared error in each window, summed over the samples, (windows,).
    """
    count = len(errors)
    return [
        WindowLoss(step, source, task, patch, window, window / count, (window + 1) / count, items, float(error) / items)
        for window, error in enumerate(errors)
    ]


def write_losses(folder: Path, step: int, losses: list[WindowLoss]) -> None:
    """Write the losses of a step to validation.csv in a run's folder, replacing those of the same or later steps."""
    if not losses:
        return
    names = [field.name for field in fields(WindowLoss)]
    file = folder / FILE
    kept = [row for row in _rows(file) if int(row["step"]) < step]
    with atomic_write(file, unique=False) as part, part.open("w", encoding="utf-8", newline="") as lines:
        table = csv.writer(lines)
        table.writerow(names)
        table.writerows([row[name] for name in names] for row in kept)
        table.writerows(astuple(loss) for loss in losses)


def source_means(rows: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """Mean loss of each source over tasks and windows in the last step of ``read_losses``, lowest first."""
    last = max((int(row["step"]) for row in rows), default=0)
    sums: dict[str, list[float]] = {}
    for row in rows:
        if int(row["step"]) == last:
            sums.setdefault(row["source"], []).append(float(row["squared_error"]))
    means = {source: sum(values) / len(values) for source, values in sums.items()}
    return dict(sorted(means.items(), key=lambda item: item[1]))


def read_losses(folder: Path) -> list[dict[str, str]]:
    """The rows of validation.csv in a run's folder; empty if the file does not exist."""
    return _rows(folder / FILE)


def _rows(file: Path) -> list[dict[str, str]]:
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))
