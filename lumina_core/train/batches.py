"""Which items a task sees in which step: a function of the seed and the step alone, so that a run can be resumed.

All items of a batch have one shape, so every process runs the same number of equal passes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ..errors import LuminaError
from .recipe import Source, Task, one_patch
from .rng import python_generator
from .shards import EncodedSet

COARSEST = 4
"""Latent pixels per side that every trained size is cut to a multiple of (the 2x4 patch)."""
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class SampleRef:
    """One item of a source, and how much of it is used.

    Args:
        source: name of the source.
        index: of the item in the source's encoded set.
        shape: that is cut from it: latent frames, height and width of a clip; latent frames, CLIP frames and
            Synchformer segments of an audio item.
    """

    source: str
    index: int
    shape: Shape


class TaskSpec(Protocol):
    """What the loop reads of a task; see ``recipe.Task`` for the meaning."""

    @property
    def name(self) -> str: ...
    @property
    def batch(self) -> int: ...
    @property
    def micro_batch(self) -> int | None: ...
    @property
    def ratio(self) -> int: ...


class Batches:
    """The batches of one task, from its items in groups of one shape, each with how often it is met."""

    def __init__(
        self, task: TaskSpec, groups: Mapping[Shape, list[tuple[SampleRef, float]]], seed: int, period: int = 1
    ):
        self.task, self.seed, self.period = task, seed, period
        self._groups = groups
        self._epoch, self._start = -1, 0
        self._batches: list[list[SampleRef]] = []

    @property
    def shapes(self) -> list[Shape]:
        """The shapes that are trained on."""
        return sorted(self._groups)

    def active(self, step: int) -> bool:
        """Whether the task runs in a step: in the first ``ratio`` of every ``period`` steps (official train.py)."""
        return step % self.period < self.task.ratio

    def at(self, step: int) -> list[SampleRef]:
        """The batch of a step in which the task is active."""
        turn = step // self.period * self.task.ratio + step % self.period
        if self._epoch < 0 or turn < self._start:
            self._epoch, self._start, self._batches = 0, 0, self._shuffled(0)
        while turn >= self._start + len(self._batches):
            self._start += len(self._batches)
            self._epoch += 1
            self._batches = self._shuffled(self._epoch)
        return self._batches[turn - self._start]

    def _shuffled(self, epoch: int) -> list[list[SampleRef]]:
        """The batches of an epoch. A shape's last, incomplete batch is filled up with items from its beginning."""
        rng = python_generator(self.seed, self.task.name, "epoch", epoch)
        batches = []
        for shape in sorted(self._groups):
            picks = []
            for pick, weight in self._groups[shape]:
                picks += [pick] * (int(weight) + (rng.random() < weight % 1))
            rng.shuffle(picks)
            size = self.task.batch
            for start in range(0, len(picks), size):
                batch = picks[start : start + size]
                while len(batch) < size:
                    batch += picks[: size - len(batch)]
                batches.append(batch)
        rng.shuffle(batches)
        return batches or [[group[0][0]] * self.task.batch for group in self._groups.values()]


class TaskBatches(Batches):
    """The batches of clips or pictures. Raises LuminaError when the sources hold nothing that the task can use."""

    def __init__(
        self, task: Task, sources: Mapping[str, Source], sets: Mapping[str, EncodedSet], seed: int, period: int
    ):
        groups: dict[Shape, list[tuple[SampleRef, float]]] = defaultdict(list)
        for name in task.sources or sources:
            for index, entry in enumerate(sets[name].entries):
                shape = used_shape(entry.shape, task)
                if entry.kind == task.media and min(shape) > 0:
                    groups[shape].append((SampleRef(name, index, shape), sources[name].weight))
        if not groups:
            names = ", ".join(task.sources or sources)
            raise LuminaError(
                f"Task {task.name} finds no {task.media} that patch size {task.patch} divides in {names}; "
                "give it other sources, or encode longer clips."
            )
        super().__init__(task, groups, seed, period)


def used_shape(shape: tuple[int, int, int, int], task: Task) -> Shape:
    """Latent frames, height and width that a task uses of latents (C, F, H, W): what the patch sizes divide."""
    _, frames, height, width = shape
    if task.media == "video":
        frames = min(frames, task.max_frames or frames)
        step = one_patch(task.patch).frames
        frames -= frames % step
    return frames, height - height % COARSEST, width - width % COARSEST
