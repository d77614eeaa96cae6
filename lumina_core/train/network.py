"""The network that a run trains, and how its tensors are gathered and distributed when several processes share it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..checkpoints.lora import ALPHA
from ..checkpoints.video import load_video_model
from ..errors import LuminaError
from ..network.video import MultiScaleNextDiT
from ..runtime.tensor_files import Weights
from .distributed import SINGLE, DistContext, distribute_like, gather_full
from .initialize import initialize
from .lora import add_lora, lora_tensors
from .recipe import Network, Recipe
from .rng import generator
from .state import EMA, LORA, WEIGHTS, newest_state


class Precision(Protocol):
    """The fields of a recipe that decide how its network computes; see ``recipe.Recipe``."""

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
        # MultiScaleNextDiT or AudioNextDiT, which have a config and layers.
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
        """(name, parameter) of everything that is trained."""
        return ((name, p) for name, p in self.saved() if isinstance(p, nn.Parameter) and p.requires_grad)

    def saved(self) -> Iterator[tuple[str, torch.Tensor]]:
        """(name, tensor) of everything in a saved state, which is a checkpoint or a LoRA file for the usual loaders."""
        return lora_tensors(self.module) if self.lora else self.module.named_parameters()

    def gather(self, tensors: Mapping[str, torch.Tensor]) -> Weights:
        """Full tensors on the CPU, for saving; empty except in the main process. All processes must call it."""
        found = {}
        for name, tensor in tensors.items():
            tensor = gather_full(tensor.detach())
            if self.dist.is_main:
                found[name] = tensor.to("cpu").contiguous()
        return found

    def load(self, targets: Mapping[str, torch.Tensor], weights: Weights, folder: Path) -> None:
        """Copy saved weights into tensors of the same names.

        Args:
            targets: the network's tensors, full or sharded.
            weights: full tensors on the CPU.
            folder: of the saved state, for the error message.

        Raises:
            LuminaError: names or shapes differ.
        """
        wrong = sorted(targets.keys() ^ weights.keys())
        wrong += [name for name in targets if name in weights and targets[name].shape != weights[name].shape]
        wrong += [name for name in targets if name.endswith(ALPHA) and not wrong and targets[name] != weights[name]]
        if wrong:
            raise LuminaError(
                f"The saved state {folder} does not fit the network of this recipe ({wrong[0]}, ...); choose another "
                "out folder, or restore the recipe's sizes.",
                field="out",
                kind="mismatch",
            )
        with torch.no_grad():
            for name, target in targets.items():
                target.copy_(distribute_like(weights[name], target))

    def distribute_moments(self, moments: Weights, names: Mapping[nn.Parameter, str]) -> Weights:
        """Saved optimizer moments, sharded like their parameters; step counts stay on the CPU.

        Args:
            moments: see ``State.optimizer``.
            names: name of each trained parameter.
        """
        parameters = {name: parameter for parameter, name in names.items()}
        return {
            key: distribute_like(value, parameters[key.partition(".")[2]]) if value.ndim else value
            for key, value in moments.items()
        }


def start_weights(path: Path) -> Path:
    """The weights that a stage starts from.

    Args:
        path: a checkpoint, or the folder of an earlier run.

    Returns:
        ``path`` itself, or the EMA weights in the newest state of the run, or its weights if it has no EMA.

    Raises:
        LuminaError: the run trained a LoRA.
    """
    state = newest_state(path) if path.is_dir() else None
    if state is None:
        return path
    if (state / LORA).is_file():
        raise LuminaError(
            f"start_from is {path}, a run that trained a LoRA, which is not a checkpoint; give the checkpoint that it "
            "was trained on.",
            field="start_from",
            kind="value",
        )
    return next(state / name for name in (EMA, WEIGHTS) if (state / name).is_file())


def build_network(recipe: Recipe, text_dim: int, device: torch.device, dist: DistContext = SINGLE) -> TrainableModel:
    """The network of a recipe, with initial weights or those of ``start_from``.

    Args:
        recipe: network, ``start_from``, LoRA and precision.
        text_dim: channels of the text encoder's features.
        device: to put the network on.
        dist: the processes that share it.

    Raises:
        LuminaError: the checkpoint cannot be loaded, or does not fit the text encoder.
    """
    if recipe.start_from is not None:
        module = load_video_model(start_weights(recipe.start_from)).requires_grad_(True)
        module.config.check_text_width(text_dim)
    else:
        # A recipe has either start_from or network.
        module = MultiScaleNextDiT(cast(Network, recipe.network).config(text_dim))
        initialize(module, generator(recipe.seed, "weights"))
    # Part of the released layout, but unused in the forward pass, so it never receives a gradient.
    module.pad_token.requires_grad_(False)
    if recipe.lora is not None:
        add_lora(module, recipe.lora, recipe.seed)
    return wrap_model(module, recipe, device, dist, recipe.lora is not None)


def wrap_model(
    module: Any, settings: Precision, device: torch.device, dist: DistContext = SINGLE, lora: bool = False
) -> TrainableModel:
    """Put a network on its device, with the activation checkpointing and sharding of the recipe.

    Args:
        module: has ``layers``, its blocks.
        settings: the recipe.
        device: to put it on.
        dist: the processes that share it.
        lora: whether only its LoRA layers are trained.
    """
    if settings.checkpointing:
        for layer in module.layers:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    if dist.size > 1:
        dist.shard(module, settings.precision == "bf16")
    return TrainableModel(module.to(device), lora, dist)


def autocast(device: torch.device, settings: Precision) -> torch.autocast:
    """Autocast context of the network: bfloat16 if the precision of the recipe is bf16, else disabled."""
    return torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16")
