"""The training objective of the video network: clips and images, one task per patch size, a frozen text encoder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import torch

from ..checkpoints.video import video_metadata
from ..errors import LuminaError
from ..network.config import VideoConfig
from ..runtime.devices import pick_device
from ..sampling.noise import noised
from ..shapes.latents import LatentSize
from ..text.gemma import MAX_TOKENS, TextEncoder, load_text_encoder
from ..vae.loader import load_video_vae
from .batches import Batches, SampleRef, TaskBatches
from .distributed import SINGLE, DistContext
from .loop import BatchLoss, PeriodicEvaluation, Trainer
from .network import autocast, build_network
from .objective import sample_losses
from .recipe import Recipe, Samples, Task, single_patch
from .rng import generator
from .samples import draw_samples, write_samples
from .shards import EncodedSet
from .training_sample import TrainSample, make_sample
from .validate import HeldOut, write_losses


class VideoObjective:
    """The objective of a video recipe: flow matching on encoded clips and images at several patch sizes.

    Args:
        recipe: sources, tasks, network and evaluations.
        dist: the processes that share the run.

    Raises:
        LuminaError: parts of the recipe, its data or its network do not fit together.
    """

    def __init__(self, recipe: Recipe, dist: DistContext = SINGLE):
        dist.check_batches(recipe.tasks.values())
        self.recipe, self.direction_weight = recipe, recipe.direction_weight
        self.device = dist.device or pick_device(recipe.device)
        self.sets = {name: EncodedSet(source.encoded) for name, source in recipe.sources.items()}
        period = max(task.ratio for task in recipe.tasks.values())
        self.batches = [
            TaskBatches(task, recipe.sources, self.sets, recipe.seed, period) for task in recipe.tasks.values()
        ]
        self.encoder: TextEncoder = load_text_encoder(recipe.text_encoder, self.device)
        self.model = build_network(recipe, self.encoder.width, self.device, dist)
        self.held_out = HeldOut(recipe) if recipe.validation else None
        self.vae = load_video_vae(recipe.vae) if recipe.samples and recipe.vae else None
        self._check_parts()
        if recipe.lora is None:
            # A LoRA is used with its checkpoint, so RoPE scaling keeps referring to the checkpoint's training size.
            self.model.config = replace(self.model.config, train_size=training_size(self.batches))
        self.metadata = video_metadata(self.model.config)

    def sample(self, task: Task, ref: SampleRef, step: int, position: int) -> TrainSample:
        """The training sample at a position of a step's batch; see ``loop.Objective``."""
        chosen = self.sets[ref.source]
        source, entry = self.recipe.sources[ref.source], chosen.entries[ref.index]
        rng = generator(self.recipe.seed, task.name, step, position)
        return make_sample(entry, chosen.latents(ref.index), ref.shape, source, task, self.recipe.drop, rng)

    def loss(self, task: Task, samples: list[TrainSample]) -> BatchLoss:
        """Losses of a micro-batch of one task; see ``loop.Objective``."""
        data = torch.stack([sample.data for sample in samples]).to(self.device)
        noise = torch.stack([sample.noise for sample in samples]).to(self.device)
        t = torch.stack([sample.t for sample in samples])
        motion = torch.tensor([sample.motion for sample in samples])
        x = noised(data, noise, t.to(self.device))
        velocity = self.velocity(x, t, [sample.text for sample in samples], motion, task)
        patch = single_patch(task.patch)
        tokens = data[:, 0].numel() // (patch.frames * patch.space**2)
        return BatchLoss(*sample_losses(velocity, data, noise), t, task.patch, tokens)

    def velocity(
        self, x: torch.Tensor, t: torch.Tensor, texts: list[str], motion: torch.Tensor, task: Task
    ) -> torch.Tensor:
        """The network's velocity of noised latents.

        Args:
            x: (B, C, F, H, W).
            t: flow times (B,), 0 to 1.
            texts: B prompts with their system prompts.
            motion: motion scores (B,), negative for none.
            task: its patch size is used.

        Returns:
            (B, C, F, H, W).
        """
        text, mask = self._encode(texts)
        x, t, motion = (tensor.to(self.device) for tensor in (x, t, motion))
        with autocast(self.device, self.recipe):
            return self.model.module(x, t, text, mask, motion, single_patch(task.patch))

    def _check_parts(self) -> None:
        config: VideoConfig = self.model.config
        for name, found in self.sets.items():
            _check_channels(config, f"Source {name}", "encoded", found)
        for name, found in self.held_out.sets.items() if self.held_out else ():
            _check_channels(config, f"The held-out data of source {name}", "held_out", found)
        for task in self.recipe.tasks.values():
            config.check_patch(single_patch(task.patch))
        if self.vae and self.recipe.samples:
            config.check_channels(self.vae.channels)
            config.check_size(self.recipe.samples.size.latent(), self.recipe.samples.sampling_plan().patches)

    def _draw_samples(self, settings: Samples, step: int) -> list[torch.Tensor]:
        return draw_samples(self.model.module, self.encoder, settings, self.device)

    @torch.no_grad()
    def _encode(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        rows = [row[:MAX_TOKENS] for row in self.encoder.token_ids(texts)]
        return self.encoder.encode_ids(rows)

    @property
    def evaluations(self) -> list[PeriodicEvaluation]:
        """Held-out losses and sampled clips, if the recipe has them."""
        recipe, found = self.recipe, []
        if self.held_out and recipe.validation:
            measure = partial(self.held_out.losses, velocity=self.velocity)
            found.append(PeriodicEvaluation(recipe.validation.every, measure, partial(write_losses, recipe.out)))
        if self.vae and recipe.samples:
            write = partial(write_samples, recipe.out, recipe.samples, self.vae)
            found.append(PeriodicEvaluation(recipe.samples.every, partial(self._draw_samples, recipe.samples), write))
        return found


def video_trainer(recipe: Recipe, dist: DistContext = SINGLE) -> Trainer:
    """The trainer of a video recipe.

    Raises LuminaError if the recipe, its data, its network or a saved state do not fit together.
    """
    return Trainer(recipe, VideoObjective(recipe, dist), dist)


def _check_channels(config: VideoConfig, what: str, field: str, found: EncodedSet) -> None:
    channels = found.entries[0].shape[0]
    if channels != config.channels:
        raise LuminaError(
            f"{what} was encoded with {channels} channels, but the network has {config.channels}; encode it "
            "with the VAE of the network.",
            field=field,
            kind="mismatch",
        )


def training_size(batches: Iterable[Batches]) -> LatentSize:
    """The size that a run trains on: its longest clips and its largest frames, which may differ."""
    shapes = [shape for of_task in batches for shape in of_task.shapes]
    _, height, width = max(shapes, key=lambda shape: shape[1] * shape[2])
    return LatentSize(max(frames for frames, _, _ in shapes), height, width)
