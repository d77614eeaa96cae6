"""The training objective of the audio network (Lumina-V2A): audio latents, conditioned on video and text features."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

from ...checkpoints.audio import audio_metadata
from ...errors import LuminaError
from ...network.audio_conditioning import AudioCondition
from ...network.audio_config import AudioConfig
from ...runtime.devices import pick_device
from ...sampling.noise import noised
from ..batches import SampleRef
from ..distributed import SINGLE, DistContext
from ..loop import BatchLoss, PeriodicEvaluation, Trainer
from ..network import autocast
from ..objective import sample_losses
from ..rng import generator
from ..validate import write_losses
from .network import build_audio_network
from .recipe import AudioRecipe, AudioTask
from .shards import AudioSet
from .training_sample import AudioTrainSample, audio_batches, batch_condition, make_audio_sample
from .validate import PATCH, AudioHeldOut


class AudioObjective:
    """The objective of an audio recipe: flow matching on encoded audio, with the squared error only.

    Args:
        recipe: sources, network and evaluations.
        dist: the processes that share the run.

    Raises:
        LuminaError: parts of the recipe, its data or its network do not fit together.
    """

    direction_weight = 0.0

    def __init__(self, recipe: AudioRecipe, dist: DistContext = SINGLE):
        dist.check_batches([recipe.task()])
        self.recipe = recipe
        self.device = dist.device or pick_device(recipe.device)
        self.sets = {name: AudioSet(source.encoded) for name, source in recipe.sources.items()}
        self.model = build_audio_network(recipe, self.device, dist)
        config: AudioConfig = self.model.config
        batches = audio_batches(recipe, self.sets, config.patch[0])
        self.batches = [batches]
        self.held_out = AudioHeldOut(recipe, config) if recipe.validation else None
        for name, found in self.sets.items():
            _check_data(config, f"Source {name}", "encoded", found)
        for name, found in self.held_out.sets.items() if self.held_out else ():
            _check_data(config, f"The held-out data of source {name}", "held_out", found)
        self.model.config = replace(config, train_rows=max(rows for rows, *_ in batches.shapes))
        self.metadata = audio_metadata(self.model.config)

    @property
    def evaluations(self) -> list[PeriodicEvaluation]:
        """Held-out losses, if the recipe has validation."""
        if self.held_out is None or self.recipe.validation is None:
            return []
        measure = partial(self.held_out.losses, velocity=self.velocity)
        return [PeriodicEvaluation(self.recipe.validation.every, measure, partial(write_losses, self.recipe.out))]

    def sample(self, task: AudioTask, ref: SampleRef, step: int, position: int) -> AudioTrainSample:
        """The training sample at a position of a step's batch; see ``loop.Objective``."""
        rng = generator(self.recipe.seed, task.name, step, position)
        return make_audio_sample(self.sets[ref.source].item(ref.index), ref.shape, self.recipe, rng)

    def loss(self, task: AudioTask, samples: list[AudioTrainSample]) -> BatchLoss:
        """Losses of a micro-batch; see ``loop.Objective``."""
        data = torch.stack([sample.data for sample in samples]).to(self.device)
        noise = torch.stack([sample.noise for sample in samples]).to(self.device)
        t = torch.stack([sample.t for sample in samples])
        x = noised(data, noise, t.to(self.device))
        velocity = self.velocity(x, t, batch_condition(samples, self.model.config.text_tokens))
        tokens = data.numel() // self.model.config.patch_elements
        return BatchLoss(*sample_losses(velocity, data, noise), t, PATCH, tokens)

    def velocity(self, x: torch.Tensor, t: torch.Tensor, condition: AudioCondition) -> torch.Tensor:
        """The network's velocity of noised latents.

        Args:
            x: (B, C, T, F).
            t: flow times (B,), 0 to 1.
            condition: features of B clips.

        Returns:
            (B, C, T, F).
        """
        with autocast(self.device, self.recipe):
            return self.model.module(x.to(self.device), t.to(self.device), condition.to(self.device, torch.float32))


def audio_trainer(recipe: AudioRecipe, dist: DistContext = SINGLE) -> Trainer:
    """The trainer of an audio recipe.

    Raises LuminaError if the recipe, its data, its network or a saved state do not fit together.
    """
    return Trainer(recipe, AudioObjective(recipe, dist), dist)


def _check_data(config: AudioConfig, what: str, field: str, items: AudioSet) -> None:
    """Check that a data set was encoded for this network. Raises LuminaError."""
    expected = (config.channels, config.bins, config.visual_dim, config.sync_dim, config.text_dim)
    for entry in items.entries:
        channels, rows, bins = entry.mean
        tokens, width = entry.text
        found = (channels, bins, entry.visual[1], entry.sync[2], width)
        if found != expected:
            raise LuminaError(
                f"{what} has {entry.name} with {_sizes(found)}, but the network expects {_sizes(expected)}; encode it "
                "with the codec and the encoders of the network.",
                field=field,
                kind="mismatch",
            )
        if rows < config.patch[0] or tokens > config.text_tokens:
            raise LuminaError(
                f"{what} has {entry.name} with {rows} latent frames and {tokens} text tokens, but the network expects "
                f"{config.patch[0]} frames or more and at most {config.text_tokens} tokens; encode it again.",
                field=field,
                kind="mismatch",
            )


def _sizes(sizes: tuple[int, ...]) -> str:
    channels, bins, visual, sync, text = sizes
    return f"latents of {channels} channels and {bins} mel bins, and features of {visual}, {sync} and {text} channels"
