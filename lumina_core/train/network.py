"""The network that a run trains, and how its tensors come apart and together when several processes share it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..checkpoints.lora import ALPHA
from ..checkpoints.video import load_video_model
from ..errors import LuminaError
from ..network.video import MultiScaleNextDiT
from ..runtime.tensor_files import Weights
from .distributed import ALONE, Processes, laid_out, whole
from .initialise import initialise
from .lora import add_lora, lora_tensors
from .recipe import Recipe
from .rng import generator
from .state import EMA, LORA, WEIGHTS, newest_state


class Trained:
    """A network in training, whole or split over ``processes``; with ``lora``, only its additions are trained."""

    def __init__(self, module: nn.Module, lora: bool = False, processes: Processes = ALONE):
        self.module, self.lora, self.processes = module, lora, processes

    @property
    def config(self) -> Any:
        """The configuration of the module's own kind."""
        return self.module.config

    def trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Name and parameter of all that is trained."""
        return ((name, p) for name, p in self.saved() if p.requires_grad)

    def saved(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Name and tensor of all that a saved state holds: a checkpoint, or a LoRA file, that the loaders take."""
        return lora_tensors(self.module) if self.lora else self.module.named_parameters()

    def whole(self, tensors: Mapping[str, torch.Tensor]) -> Weights:
        """Tensors as they are saved, whole and on the CPU; nothing in processes that do not save. All must ask."""
        found = {}
        for name, tensor in tensors.items():
            tensor = whole(tensor.detach())
            if self.processes.first:
                found[name] = tensor.to("cpu").contiguous()
        return found

    def load(self, targets: Mapping[str, torch.Tensor], weights: Weights, folder: Path) -> None:
        """Copy saved weights into tensors of the same names. Raises LuminaError unless they fit exactly."""
        wrong = sorted(targets.keys() ^ weights.keys())
        wrong += [name for name in targets if name in weights and targets[name].shape != weights[name].shape]
        wrong += [name for name in targets if name.endswith(ALPHA) and not wrong and targets[name] != weights[name]]
        if wrong:
            raise LuminaError(
                f"The saved state {folder} does not fit this recipe's network ({wrong[0]}, ...); give the recipe "
                "another out folder, or take its sizes back."
            )
        with torch.no_grad():
            for name, target in targets.items():
                target.copy_(laid_out(weights[name], target))

    def parts(self, moments: Weights, names: Mapping[nn.Parameter, str]) -> Weights:
        """Saved moments of the optimizer, laid out as the parameters are; step counts stay on the CPU."""
        places = {name: parameter for parameter, name in names.items()}
        return {
            key: laid_out(value, places[key.partition(".")[2]]) if value.ndim else value
            for key, value in moments.items()
        }


def start_weights(path: Path) -> Path:
    """The weights that a stage starts from: a checkpoint, or the newest state of an earlier run, averaged if it can be.
    """
    state = newest_state(path) if path.is_dir() else None
    if state is None:
        return path
    if (state / LORA).is_file():
        raise LuminaError(
            f"start_from is {path}, a run that trained a LoRA, which is no checkpoint; give the one that it was "
            "trained on."
        )
    return next(state / name for name in (EMA, WEIGHTS) if (state / name).is_file())


def build_network(recipe: Recipe, text_dim: int, device: torch.device, processes: Processes = ALONE) -> Trained:
    """The recipe's network on a device: new, or with the weights of ``start_from``. Raises LuminaError."""
    if recipe.start_from is not None:
        module = load_video_model(start_weights(recipe.start_from)).requires_grad_(True)
        module.config.check_text_width(text_dim)
    else:
        module = MultiScaleNextDiT(recipe.network.config(text_dim))
        initialise(module, generator(recipe.seed, "weights"))
    # The released layout has it, no pass reads it, so no gradient ever reaches it.
    module.pad_token.requires_grad_(False)
    if recipe.lora is not None:
        add_lora(module, recipe.lora, recipe.seed)
    return prepared(module, recipe, device, processes, recipe.lora is not None)


def prepared(
    module: nn.Module, recipe: Any, device: torch.device, processes: Processes = ALONE, lora: bool = False
) -> Trained:
    """A network with ``layers``, recomputed and split over the processes as the recipe says, on its device."""
    if recipe.checkpointing:
        for layer in module.layers:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    if processes.size > 1:
        processes.split(module, recipe.precision == "bf16")
    return Trained(module.to(device), lora, processes)
