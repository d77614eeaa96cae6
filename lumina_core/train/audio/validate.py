"""Held-out loss of audio in windows of t, for each source; samples, noise and timesteps are the same at every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from ...network.audio_conditioning import AudioCondition
from ...network.audio_config import AudioConfig
from ...sampling.noise import noised
from ..objective import sample_losses
from ..rng import generator
from ..settings import Validation
from ..validate import BATCH, WindowLoss, check_held_out, window_losses
from .recipe import AudioConditionDropout, AudioRecipe
from .shards import AudioSet
from .training_sample import batch_condition, crop_shape, make_audio_sample

# Entry in the column of the patch size in the logs.
PATCH = "sound"
# ``velocity(x, t, condition)`` of noised samples (B, C, T, F).
Velocity = Callable[[torch.Tensor, torch.Tensor, AudioCondition], torch.Tensor]


class AudioHeldOut:
    """The held-out data sets of a recipe's sources, evaluated without dropout.

    Args:
        recipe: its sources and ``validation``.
        config: of the network.

    Raises:
        LuminaError: there is none, or one is damaged.
    """

    def __init__(self, recipe: AudioRecipe, config: AudioConfig):
        self.recipe, self.config = recipe, config
        self.settings = recipe.validation or Validation()
        self.sets = {name: AudioSet(source.held_out) for name, source in recipe.sources.items() if source.held_out}
        check_held_out(self.sets)

    def losses(self, step: int, velocity: Velocity) -> list[WindowLoss]:
        """The losses of all sources and windows; ``step`` is copied into them."""
        found, name = [], self.recipe.task().name
        for source, held_out in self.sets.items():
            indices = self._indices(held_out)
            errors = torch.zeros(self.settings.windows, dtype=torch.float64)
            for start in range(0, len(indices), BATCH):
                errors += self._batch_errors(source, held_out, indices[start : start + BATCH], velocity)
            found += window_losses(step, source, name, PATCH, len(indices), errors)
        return found

    def _indices(self, held_out: AudioSet) -> list[int]:
        """Indices of the first items that have the shape of the first one."""
        shapes = [self._shape(held_out, index) for index in range(len(held_out))]
        return [index for index, shape in enumerate(shapes) if shape == shapes[0]][: self.settings.items]

    def _shape(self, held_out: AudioSet, index: int) -> tuple[int, int, int]:
        return crop_shape(held_out.entries[index], self.recipe.max_rows, self.config.patch[0])

    def _batch_errors(self, source: str, held_out: AudioSet, indices: list[int], velocity: Velocity) -> torch.Tensor:
        """Squared error in each window, summed over the samples, (windows,)."""
        windows = self.settings.windows
        no_dropout = replace(self.recipe, drop=AudioConditionDropout(video=0.0, text=0.0))
        rngs = [generator(self.recipe.seed, "validation", source, index) for index in indices]
        samples = [
            make_audio_sample(held_out.item(index), self._shape(held_out, index), no_dropout, rng)
            for index, rng in zip(indices, rngs, strict=True)
        ]
        data, noise = (torch.stack([getattr(sample, name) for sample in samples]) for name in ("data", "noise"))
        offset = torch.stack([torch.rand((), generator=rng) for rng in rngs])
        condition = batch_condition(samples, self.config.text_tokens)
        errors = torch.zeros(windows, dtype=torch.float64)
        for window in range(windows):
            t = (window + offset) / windows
            found = velocity(noised(data, noise, t), t, condition).cpu()
            errors[window] = sample_losses(found, data, noise)[0].double().sum()
        return errors
