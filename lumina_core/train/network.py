"""The network that a run trains, and how its tensors come apart and together when several processes share it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..checkpoint import load_video_model
from ..config import VideoConfig
from ..errors import LuminaError
from ..video_model import MultiScaleNextDiT
from ..weights import Weights
from .chance import generator
from .initialise import initialise
from .recipe import Recipe
from .state import EMA, WEIGHTS, newest_state


class Trained:
    """A network in training."""

    def __init__(self, module: MultiScaleNextDiT):
        self.module = module

    @property
    def config(self) -> VideoConfig:
        return self.module.config

    def trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Name and parameter of all that is trained."""
        return ((name, p) for name, p in self.module.named_parameters() if p.requires_grad)

    def saved(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Name and parameter of all that a saved state holds: a checkpoint that the loaders take."""
        return self.module.named_parameters()

    def whole(self, tensors: Mapping[str, torch.Tensor]) -> Weights:
        """Tensors as they are saved: whole and on the CPU."""
        return {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}

    def load(self, targets: Mapping[str, torch.Tensor], weights: Weights, folder: Path) -> None:
        """Copy saved weights into tensors of the same names. Raises LuminaError unless they fit exactly."""
        wrong = sorted(targets.keys() ^ weights.keys())
        wrong += [name for name in targets if name in weights and targets[name].shape != weights[name].shape]
        if wrong:
            raise LuminaError(
                f"The saved state {folder} does not fit this recipe's network ({wrong[0]}, ...); give the recipe "
                "another out folder, or take its sizes back."
            )
        with torch.no_grad():
            for name, target in targets.items():
                target.copy_(weights[name])

    def parts(self, moments: Weights, names: Mapping[nn.Parameter, str]) -> Weights:
        """Saved moments of the optimizer, laid out as the parameters are."""
        places = {name: parameter for parameter, name in names.items()}
        return {key: value.to(places[key.partition(".")[2]].device) for key, value in moments.items()}


def start_weights(path: Path) -> Path:
    """The weights that a stage starts from: a checkpoint, or the newest state of an earlier run, averaged if it can be.
    """
    state = newest_state(path) if path.is_dir() else None
    if state is None:
        return path
    return next(state / name for name in (EMA, WEIGHTS) if (state / name).is_file())


def build_network(recipe: Recipe, text_dim: int, device: torch.device) -> Trained:
    """The recipe's network on a device: new, or with the weights of ``start_from``. Raises LuminaError."""
    if recipe.start_from is not None:
        module = load_video_model(start_weights(recipe.start_from)).requires_grad_(True)
        module.config.check_text_width(text_dim)
    else:
        module = MultiScaleNextDiT(recipe.network.config(text_dim))
        initialise(module, generator(recipe.seed, "weights"))
    # The released layout has it, no pass reads it, so no gradient ever reaches it.
    module.pad_token.requires_grad_(False)
    if recipe.checkpointing:
        for layer in module.layers:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    return Trained(module.to(device))
