"""Training of Lumina-V2A on encoded sounds, by the loop that trains the video network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from ...checkpoints.audio import audio_metadata
from ...errors import LuminaError
from ...network.audio_conditioning import AudioCondition
from ...network.audio_config import AudioConfig
from ...runtime.devices import pick_device
from ..batches import Pick
from ..distributed import ALONE, Processes
from ..loop import Trainer
from ..objective import noised
from ..rng import generator
from .items import AudioTrainItem, audio_batches, condition_of, make_audio_item
from .network import build_audio_network
from .recipe import AudioRecipe, AudioTask
from .shards import AudioSet
from .validate import PATCH, AudioHeldOut


class AudioTrainer(Trainer):
    """One run of a sound recipe; the loss is the squared error alone. Raises LuminaError for what does not fit."""

    def __init__(self, recipe: AudioRecipe, processes: Processes = ALONE):
        processes.check_batches([recipe.task()])
        device = processes.device or pick_device(recipe.device)
        self.sets = {name: AudioSet(source.encoded) for name, source in recipe.sources.items()}
        network = build_audio_network(recipe, device, processes)
        config = network.config
        batches = audio_batches(recipe, self.sets, config.patch[0])
        held_out = AudioHeldOut(recipe, config) if recipe.validation else None
        _check_data(config, self.sets)
        if held_out:
            _check_data(config, {f"{name}, held_out,": chosen for name, chosen in held_out.sets.items()})
        config = replace(config, train_rows=max(rows for rows, *_ in batches.shapes))
        network.module.config = config
        super().__init__(recipe, processes, device, network, [batches], held_out, audio_metadata(config))

    def _item(self, task: AudioTask, pick: Pick, place: int) -> AudioTrainItem:
        rng = generator(self.recipe.seed, task.name, self.step, place)
        return make_audio_item(self.sets[pick.source].item(pick.index), pick.shape, self.recipe, rng)

    def _loss(self, task: AudioTask, items: list[AudioTrainItem]) -> torch.Tensor:
        data = torch.stack([item.data for item in items]).to(self.device)
        noise = torch.stack([item.noise for item in items]).to(self.device)
        t = torch.stack([item.t for item in items])
        x = noised(data, noise, t.to(self.device))
        velocity = self._velocity(x, t, condition_of(items, self.network.config.text_tokens))
        tokens = data.numel() // self.network.config.patch_numbers
        return self._measured(task, PATCH, t, velocity, data, noise, tokens)

    def _velocity(self, x: torch.Tensor, t: torch.Tensor, condition: AudioCondition) -> torch.Tensor:
        with self._precision():
            return self.network.module(x.to(self.device), t.to(self.device), condition.to(self.device, torch.float32))


def _check_data(config: AudioConfig, sets: Mapping[str, AudioSet]) -> None:
    """Raise LuminaError for a source that was encoded for another network."""
    wanted = (config.channels, config.bins, config.visual_dim, config.sync_dim, config.text_dim)
    for name, chosen in sets.items():
        for entry in chosen.entries:
            channels, rows, bins = entry.mean
            tokens, width = entry.text
            found = (channels, bins, entry.visual[1], entry.sync[2], width)
            if found != wanted:
                raise LuminaError(
                    f"Source {name} holds {entry.name} with {_told(found)}, and the network reads {_told(wanted)}; "
                    "encode it with the network's own codec and encoders."
                )
            if rows < config.patch[0] or tokens > config.text_tokens:
                raise LuminaError(
                    f"Source {name} holds {entry.name} with {rows} rows and {tokens} text tokens, and the network "
                    f"reads {config.patch[0]} rows or more and at most {config.text_tokens} tokens; encode it again."
                )


def _told(sizes: tuple[int, ...]) -> str:
    channels, bins, visual, sync, text = sizes
    return f"latents of {channels} channels and {bins} bins and features {visual}, {sync} and {text} wide"
