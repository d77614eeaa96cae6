"""The network that a run trains, and how its tensors are gathered and distributed when several processes share it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..checkpoints.lora import ALPHA
from ..checkpoints.video import load_video_model
from ..errors import LuminaError
from ..network.video import MultiScaleNextDiT
from ..runtime.tensor_files import Weights
from .distributed import SINGLE, DistContext, distribute_like, gather_full
from .initialise import initialise
from .lora import add_lora, lora_tensors
from .recipe import Recipe
from .rng import generator
from .state import EMA, LORA, WEIGHTS, newest_state


class Precision(Protocol):
    """What of a recipe decides how its network is computed; see ``recipe.Recipe``."""

    @property
    def precision(self) -> str: ...
    @property
    def checkpointing(self) -> bool: ...


class TrainableModel:
    """A network in training.

    Args:
        module: the network, full or sharded over the processes of ``dist``.
        lora: whether only the LoRA layers that were added to it are trained and saved.
        dist: the processes that share the run.
    """

    def __init__(self, module: nn.Module, lora: bool = False, dist: DistContext = SINGLE):
        # Of one of the networks' classes, which have a config and layers.
        self.module: Any = module
        self.lora, self.dist = lora, dist

    @property
    def config(self) -> Any:
        """The module's configuration: ``VideoConfig`` or ``AudioConfig``."""
        return self.module.config

    @config.setter
    def config(self, config: Any) -> None:
        self.module.config = config

    def trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Name and parameter of all that is trained."""
        return ((name, p) for name, p in self.saved() if isinstance(p, nn.Parameter) and p.requires_grad)

    def saved(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Name and tensor of all that a saved state holds: a checkpoint, or a LoRA file, that the loaders take."""
        return lora_tensors(self.module) if self.lora else self.module.named_parameters()

    def gather(self, tensors: Mapping[str, torch.Tensor]) -> Weights:
        """Full tensors on the CPU, to be saved; nothing in other processes than the main one. All must call it."""
        found = {}
        for name, tensor in tensors.items():
            tensor = gather_full(tensor.detach())
            if self.dist.is_main:
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
                "another out folder, or take its sizes back.",
                field="out",
                kind="mismatch",
            )
        with torch.no_grad():
            for name, target in targets.items():
                target.copy_(distribute_like(weights[name], target))

    def distribute_moments(self, moments: Weights, names: Mapping[nn.Parameter, str]) -> Weights:
        """Saved moments of the optimizer, distributed as the parameters are; step counts stay on the CPU."""
        parameters = {name: parameter for parameter, name in names.items()}
        return {
            key: distribute_like(value, parameters[key.partition(".")[2]]) if value.ndim else value
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
            "trained on.",
            field="start_from",
        )
    return next(state / name for name in (EMA, WEIGHTS) if (state / name).is_file())


def build_network(recipe: Recipe, text_dim: int, device: torch.device, dist: DistContext = SINGLE) -> TrainableModel:
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
    return wrap_model(module, recipe, device, dist, recipe.lora is not None)


def wrap_model(
    module: Any, settings: Precision, device: torch.device, dist: DistContext = SINGLE, lora: bool = False
) -> TrainableModel:
    """A network with ``layers`` on its device, with activation checkpointing and sharding as the recipe says."""
    if settings.checkpointing:
        for layer in module.layers:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    if dist.size > 1:
        dist.shard(module, settings.precision == "bf16")
    return TrainableModel(module.to(device), lora, dist)


def autocast(device: torch.device, settings: Precision) -> torch.autocast:
    """What the network runs under: bfloat16 matrix products where the recipe's precision is bf16."""
    return torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16")
