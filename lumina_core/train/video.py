"""Training of the video network: clips and pictures, patch sizes as tasks, prompts read by the frozen text encoder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch

from ..checkpoints.video import video_metadata
from ..errors import LuminaError
from ..network.config import VideoConfig
from ..runtime.devices import pick_device
from ..shapes.latents import LatentSize
from ..text.gemma import MAX_TOKENS, TextEncoder, load_text_encoder
from ..vae.loader import load_video_vae
from .batches import Batches, Pick, TaskBatches
from .distributed import ALONE, Processes
from .ema import averaged
from .items import TrainItem, make_item
from .loop import Trainer
from .network import build_network
from .objective import noised
from .recipe import Recipe, Task, one_patch
from .rng import generator
from .samples import draw_samples, write_samples
from .shards import EncodedSet
from .validate import HeldOut


class VideoTrainer(Trainer):
    """One run of a video recipe. Raises LuminaError for what does not fit."""

    def __init__(self, recipe: Recipe, processes: Processes = ALONE):
        processes.check_batches(recipe.tasks.values())
        device = processes.device or pick_device(recipe.device)
        self.sets = {name: EncodedSet(source.encoded) for name, source in recipe.sources.items()}
        period = max(task.ratio for task in recipe.tasks.values())
        batches = [TaskBatches(task, recipe.sources, self.sets, recipe.seed, period) for task in recipe.tasks.values()]
        self.encoder: TextEncoder = load_text_encoder(recipe.text_encoder, device)
        network = build_network(recipe, self.encoder.width, device, processes)
        held_out = HeldOut(recipe) if recipe.validation else None
        self.vae = load_video_vae(recipe.vae) if recipe.samples else None
        self._check_data(recipe, network.config, held_out.sets if held_out else {})
        if recipe.lora is None:
            # A LoRA goes with its checkpoint, whose positions stay scaled as they are without it.
            network.module.config = replace(network.config, train_size=largest(batches))
        super().__init__(
            recipe,
            processes,
            device,
            network,
            batches,
            held_out,
            video_metadata(network.config),
            recipe.direction_weight,
        )

    def _look(self) -> None:
        super()._look()
        samples = self.recipe.samples
        if samples and self._due(samples.every):
            with averaged(self.network.module, self.ema, self.names):
                latents = draw_samples(self.network.module, self.encoder, samples, self.device)
            if self.processes.first:
                write_samples(self.recipe.out, self.step, latents, self.vae, samples)

    def _item(self, task: Task, pick: Pick, place: int) -> TrainItem:
        chosen = self.sets[pick.source]
        source, entry = self.recipe.sources[pick.source], chosen.entries[pick.index]
        rng = generator(self.recipe.seed, task.name, self.step, place)
        return make_item(entry, chosen.latents(pick.index), pick.shape, source, task, self.recipe.drop, rng)

    def _loss(self, task: Task, items: list[TrainItem]) -> torch.Tensor:
        data = torch.stack([item.data for item in items]).to(self.device)
        noise = torch.stack([item.noise for item in items]).to(self.device)
        t = torch.stack([item.t for item in items])
        motion = torch.tensor([item.motion for item in items])
        x = noised(data, noise, t.to(self.device))
        velocity = self._velocity(x, t, [item.text for item in items], motion, task)
        patch = one_patch(task.patch)
        tokens = data[:, 0].numel() // (patch.frames * patch.space**2)
        return self._measured(task, task.patch, t, velocity, data, noise, tokens)

    def _velocity(
        self, x: torch.Tensor, t: torch.Tensor, texts: list[str], motion: torch.Tensor, task: Task
    ) -> torch.Tensor:
        text, mask = self._encode(texts)
        x, t, motion = (tensor.to(self.device) for tensor in (x, t, motion))
        with self._precision():
            return self.network.module(x, t, text, mask, motion, one_patch(task.patch))

    @torch.no_grad()
    def _encode(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        rows = [row[:MAX_TOKENS] for row in self.encoder.token_ids(texts)]
        return self.encoder.encode_ids(rows)

    def _check_data(self, recipe: Recipe, config: VideoConfig, held_out: dict[str, EncodedSet]) -> None:
        for name, found in [*self.sets.items(), *((f"{name}, held_out,", found) for name, found in held_out.items())]:
            if found.entries[0].shape[0] != config.channels:
                raise LuminaError(
                    f"Source {name} was encoded with {found.entries[0].shape[0]} channels, and the network has "
                    f"{config.channels}; encode it with the network's own VAE."
                )
        for task in recipe.tasks.values():
            config.check_patch(one_patch(task.patch))
        if recipe.samples:
            config.check_channels(self.vae.channels)
            config.check_size(recipe.samples.size.latent(), recipe.samples.sampling_plan().patches)


def largest(batches: Iterable[Batches]) -> LatentSize:
    """What a run trains on: its longest clips and its largest pictures, which need not be the same."""
    shapes = [shape for of_task in batches for shape in of_task.shapes]
    _, height, width = max(shapes, key=lambda shape: shape[1] * shape[2])
    return LatentSize(max(frames for frames, _, _ in shapes), height, width)
