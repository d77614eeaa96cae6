"""Held-out loss of every patch size over windows of t, for each source (paper, figure 3).

Items, noise and times are the same at every step, so two steps, or two runs, can be compared.
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
from .batches import used_shape
from .items import cut
from .objective import item_losses, noised
from .recipe import Recipe, Source, Task, Validation
from .rng import generator
from .shards import EncodedSet

FILE = "validation.csv"
BATCH = 16
"""Items that are measured at once."""

Velocity = Callable[[torch.Tensor, torch.Tensor, list[str], torch.Tensor, Task], torch.Tensor]
"""``velocity(x, t, texts, motion, task)`` of noised items (B, C, F, H, W)."""


@dataclass(frozen=True)
class WindowLoss:
    """Mean squared error of one source at one patch size, over the items' times within from_t..to_t."""

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
    """The held-out sets of a recipe's sources. Raises LuminaError for a set that is not whole or that no task can use,
    and where there is none."""

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.settings = recipe.validation or Validation()
        self.sets = {
            name: EncodedSet(source.held_out) for name, source in recipe.sources.items() if source.held_out is not None
        }
        check_held_out(self.sets)
        for name, chosen in self.sets.items():
            if not any(self._picks(chosen, task) for task in self._tasks(name)):
                raise LuminaError(
                    f"No task can use an item of the held-out set {chosen.folder} of source {name}; hold out items "
                    "that are like those it trains on."
                )

    def losses(self, step: int, velocity: Velocity) -> list[WindowLoss]:
        """All window losses of a step."""
        found = []
        for name, chosen in self.sets.items():
            for task in self._tasks(name):
                found += self._task_losses(step, self.recipe.sources[name], chosen, task, velocity)
        return found

    def _tasks(self, source: str) -> list[Task]:
        return [task for task in self.recipe.tasks.values() if source in (task.sources or self.recipe.sources)]

    def _task_losses(
        self, step: int, source: Source, chosen: EncodedSet, task: Task, velocity: Velocity
    ) -> list[WindowLoss]:
        picks = self._picks(chosen, task)
        if not picks:
            return []
        errors = torch.zeros(self.settings.windows, dtype=torch.float64)
        for start in range(0, len(picks), BATCH):
            errors += self._batch_errors(source, chosen, task, picks[start : start + BATCH], velocity)
        return window_losses(step, source.name, task.name, task.patch, len(picks), errors)

    def _picks(self, chosen: EncodedSet, task: Task) -> list[int]:
        """The first items that the task can use, all of the first one's shape."""
        usable = [
            (index, used_shape(entry.shape, task))
            for index, entry in enumerate(chosen.entries)
            if entry.kind == task.media and min(used_shape(entry.shape, task)) > 0
        ]
        return [index for index, shape in usable if shape == usable[0][1]][: self.settings.items]

    def _batch_errors(
        self, source: Source, chosen: EncodedSet, task: Task, picks: list[int], velocity: Velocity
    ) -> torch.Tensor:
        """Sum over the items of the squared error in each window."""
        windows, seed = self.settings.windows, self.recipe.seed
        numbers = [generator(seed, "validation", source.name, task.name, index) for index in picks]
        entries = [chosen.entries[index] for index in picks]
        shape = used_shape(entries[0].shape, task)
        data = torch.stack([cut(chosen.latents(index), shape, rng) for index, rng in zip(picks, numbers, strict=True)])
        noise = torch.stack([torch.randn(data.shape[1:], generator=rng) for rng in numbers])
        place = torch.stack([torch.rand((), generator=rng) for rng in numbers])
        texts = [source.system_prompt + entry.caption for entry in entries]
        motion = torch.tensor([NO_MOTION if entry.motion is None else entry.motion for entry in entries])
        errors = torch.zeros(windows, dtype=torch.float64)
        for window in range(windows):
            t = (window + place) / windows
            found = velocity(noised(data, noise, t), t, texts, motion, task).cpu()
            errors[window] = item_losses(found, data, noise)[0].double().sum()
        return errors


def check_held_out(sets: Mapping[str, object]) -> None:
    """Raise LuminaError where there is no held-out set."""
    if not sets:
        raise LuminaError(
            "The recipe asks for validation and no source has held_out; add a held-out set to a source, or leave "
            "validation out."
        )


def window_losses(
    step: int, source: str, task: str, patch: str, items: int, errors: torch.Tensor
) -> list[WindowLoss]:
    """One loss a window, from the sum over so many items of the squared error in each, (windows,)."""
    count = len(errors)
    return [
        WindowLoss(step, source, task, patch, window, window / count, (window + 1) / count, items, float(error) / items)
        for window, error in enumerate(errors)
    ]


def write_losses(folder: Path, step: int, losses: list[WindowLoss]) -> None:
    """Put the losses of a step into the run's file, in place of those of the same or a later step."""
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
    """Mean loss of each source over patch sizes and windows, in the last step of ``read_losses``; best first."""
    last = max((int(row["step"]) for row in rows), default=0)
    sums: dict[str, list[float]] = {}
    for row in rows:
        if int(row["step"]) == last:
            sums.setdefault(row["source"], []).append(float(row["squared_error"]))
    means = {source: sum(values) / len(values) for source, values in sums.items()}
    return dict(sorted(means.items(), key=lambda item: item[1]))


def read_losses(folder: Path) -> list[dict[str, str]]:
    """The rows of a run's file, none where there is none."""
    return _rows(folder / FILE)


def _rows(file: Path) -> list[dict[str, str]]:
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))
