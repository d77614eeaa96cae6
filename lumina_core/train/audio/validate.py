"""Held-out loss of sounds over windows of t, for each source; items, noise and times are the same at every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from ...network.audio_conditioning import AudioCondition
from ...network.audio_config import AudioConfig
from ..objective import item_losses, noised
from ..recipe import Validation
from ..rng import generator
from ..validate import BATCH, WindowLoss, check_held_out, window_losses
from .items import condition_of, make_audio_item, used_shape
from .recipe import AudioConditionDropout, AudioRecipe
from .shards import AudioSet

PATCH = "sound"
"""What stands for the patch size in the logs."""
Velocity = Callable[[torch.Tensor, torch.Tensor, AudioCondition], torch.Tensor]
"""``velocity(x, t, condition)`` of noised items (B, C, T, F)."""


class AudioHeldOut:
    """The held-out sets of a recipe's sources, with no stream left out.

    Raises LuminaError for a set that is not whole, and where there is none.
    """

    def __init__(self, recipe: AudioRecipe, config: AudioConfig):
        self.recipe, self.config = recipe, config
        self.settings = recipe.validation or Validation()
        self.sets = {name: AudioSet(source.held_out) for name, source in recipe.sources.items() if source.held_out}
        check_held_out(self.sets)

    def losses(self, step: int, velocity: Velocity) -> list[WindowLoss]:
        """All window losses of a step."""
        found, name = [], self.recipe.task().name
        for source, chosen in self.sets.items():
            picks = self._picks(chosen)
            errors = torch.zeros(self.settings.windows, dtype=torch.float64)
            for start in range(0, len(picks), BATCH):
                errors += self._batch_errors(source, chosen, picks[start : start + BATCH], velocity)
            found += window_losses(step, source, name, PATCH, len(picks), errors)
        return found

    def _picks(self, chosen: AudioSet) -> list[int]:
        """The first items, all of the first one's shape."""
        shapes = [self._shape(chosen, index) for index in range(len(chosen))]
        return [index for index, shape in enumerate(shapes) if shape == shapes[0]][: self.settings.items]

    def _shape(self, chosen: AudioSet, index: int) -> tuple[int, int, int]:
        return used_shape(chosen.entries[index], self.recipe.max_rows, self.config.patch[0])

    def _batch_errors(self, source: str, chosen: AudioSet, picks: list[int], velocity: Velocity) -> torch.Tensor:
        """Sum over the items of the squared error in each window."""
        windows = self.settings.windows
        no_dropout = replace(self.recipe, drop=AudioConditionDropout(video=0.0, text=0.0))
        numbers = [generator(self.recipe.seed, "validation", source, index) for index in picks]
        items = [
            make_audio_item(chosen.item(index), self._shape(chosen, index), no_dropout, rng)
            for index, rng in zip(picks, numbers, strict=True)
        ]
        data, noise = (torch.stack([getattr(item, name) for item in items]) for name in ("data", "noise"))
        place = torch.stack([torch.rand((), generator=rng) for rng in numbers])
        condition = condition_of(items, self.config.text_tokens)
        errors = torch.zeros(windows, dtype=torch.float64)
        for window in range(windows):
            t = (window + place) / windows
            found = velocity(noised(data, noise, t), t, condition).cpu()
            errors[window] = item_losses(found, data, noise)[0].double().sum()
        return errors
