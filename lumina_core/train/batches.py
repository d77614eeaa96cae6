"""Which samples a task trains on in which step: a function of the seed and the step alone, so that runs can be resumed.

All samples of a batch have the same shape, so every process runs the same number of equal forward passes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ..errors import LuminaError
from ..shapes.latents import COARSEST_SIDE
from .recipe import Source, Task, single_patch
from .rng import python_generator
from .shards import EncodedSet

# Latent frames, height and width of a clip; latent frames, CLIP frames and Synchformer segments of an audio sample.
BatchShape = tuple[int, int, int]


@dataclass(frozen=True)
class SampleRef:
    """Reference to one sample.

    Args:
        source: name of the source.
        index: index in the source's encoded data set.
        shape: shape to crop it to, see ``BatchShape``.
    """

    source: str
    index: int
    shape: BatchShape


class TaskSpec(Protocol):
    """The fields of a task that the loop reads; see ``recipe.Task`` for their meaning."""

    @property
    def name(self) -> str: ...
    @property
    def batch(self) -> int: ...
    @property
    def micro_batch(self) -> int | None: ...
    @property
    def ratio(self) -> int: ...


class Batches:
    """The batches of one task.

    Args:
        task: its batch size and ratio.
        groups: samples by shape, each with its weight, the expected number of times it is drawn per epoch.
        seed: of the order.
        period: the largest ratio of all tasks.
    """

    def __init__(
        self, task: TaskSpec, groups: Mapping[BatchShape, list[tuple[SampleRef, float]]], seed: int, period: int = 1
    ):
        self.task, self.seed, self.period = task, seed, period
        self._groups = groups
        self._epoch, self._start = -1, 0
        self._batches: list[list[SampleRef]] = []

    @property
    def shapes(self) -> list[BatchShape]:
        """All shapes that the task trains on, sorted."""
        return sorted(self._groups)

    def active(self, step: int) -> bool:
        """Whether the task runs in a step, counted from 0: it does in the first ``ratio`` of every ``period`` steps.

        Source: official train.py.
        """
        return step % self.period < self.task.ratio

    def at(self, step: int) -> list[SampleRef]:
        """The batch of a step, counted from 0, in which the task is active."""
        turn = step // self.period * self.task.ratio + step % self.period
        if self._epoch < 0 or turn < self._start:
            self._epoch, self._start, self._batches = 0, 0, self._shuffled(0)
        while turn >= self._start + len(self._batches):
            self._start += len(self._batches)
            self._epoch += 1
            self._batches = self._shuffled(self._epoch)
        return self._batches[turn - self._start]

    def _shuffled(self, epoch: int) -> list[list[SampleRef]]:
        """The batches of an epoch; the last one of a shape is filled up with its first samples if it is incomplete."""
        rng = python_generator(self.seed, self.task.name, "epoch", epoch)
        batches = []
        for shape in sorted(self._groups):
            refs = []
            for ref, weight in self._groups[shape]:
                refs += [ref] * (int(weight) + (rng.random() < weight % 1))
            rng.shuffle(refs)
            size = self.task.batch
            for start in range(0, len(refs), size):
                batch = refs[start : start + size]
                while len(batch) < size:
                    batch += refs[: size - len(batch)]
                batches.append(batch)
        rng.shuffle(batches)
        return batches or [[group[0][0]] * self.task.batch for group in self._groups.values()]


class TaskBatches(Batches):
    """Batches of clips or images.

    Args:
        task: what to train.
        sources: by name, for their weights.
        sets: the encoded data set of each source.
        seed, period: see ``Batches``.

    Raises:
        LuminaError: the sources contain nothing that the task can use.
    """

    def __init__(
        self, task: Task, sources: Mapping[str, Source], sets: Mapping[str, EncodedSet], seed: int, period: int
    ):
        groups: dict[BatchShape, list[tuple[SampleRef, float]]] = defaultdict(list)
        for name in task.sources or sources:
            for index, entry in enumerate(sets[name].entries):
                shape = crop_shape(entry.shape, task)
                if entry.kind == task.media and min(shape) > 0:
                    groups[shape].append((SampleRef(name, index, shape), sources[name].weight))
        if not groups:
            names = ", ".join(task.sources or sources)
            raise LuminaError(
                f"Task {task.name} has no {task.media} that patch size {task.patch} divides in {names}; "
                "give it other sources, or encode longer clips.",
                field="sources",
                kind="mismatch",
            )
        super().__init__(task, groups, seed, period)


def crop_shape(shape: tuple[int, int, int, int], task: Task) -> BatchShape:
    """Latent frames, height and width to which a task crops latents of shape (C, F, H, W).

    The patch size of the task divides the frames, and every patch size divides height and width. An entry is 0 if the
    latents are too small.
    """
    _, frames, height, width = shape
    if task.media == "video":
        frames = min(frames, task.max_frames or frames)
        step = single_patch(task.patch).frames
        frames -= frames % step
    return frames, height - height % COARSEST_SIDE, width - width % COARSEST_SIDE
