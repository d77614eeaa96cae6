"""The audio network that a run trains."""

from __future__ import annotations

from pathlib import Path

import torch

from ...audio.clip_loader import load_clip
from ...audio.features import CLIP
from ...checkpoints.audio import load_audio_model
from ...errors import LuminaError
from ...network.audio import AudioNextDiT
from ..distributed import SINGLE, DistContext
from ..initialize import initialize
from ..network import TrainableModel, start_weights, wrap_model
from ..rng import generator
from ..state import newest_state
from .recipe import AudioRecipe


def build_audio_network(recipe: AudioRecipe, device: torch.device, dist: DistContext = SINGLE) -> TrainableModel:
    """The network of a recipe, with initial weights or those of ``start_from``.

    Args:
        recipe: network, ``start_from``, ``features`` and precision.
        device: to put the network on.
        dist: the processes that share it.

    Raises:
        LuminaError: weights cannot be loaded, or the text encoder does not fit the network.
    """
    if recipe.start_from is not None:
        module = load_audio_model(start_weights(recipe.start_from)).requires_grad_(True)
    else:
        module = AudioNextDiT(recipe.config())
        initialize(module, generator(recipe.seed, "weights"))
        # A resumed run has them in its saved state.
        if newest_state(recipe.out) is None and recipe.features is not None:
            _set_null_text(module, recipe.features, device)
    module.null_text.requires_grad_(False)
    module.null_text_mask.requires_grad_(False)
    return wrap_model(module, recipe, device, dist)


def _set_null_text(module: AudioNextDiT, folder: Path, device: torch.device) -> None:
    """Store the features of an empty text in the network, where they replace a dropped text."""
    clip = load_clip(folder / CLIP, device)
    features, mask = clip.text([""])
    expected = tuple(module.null_text.shape)
    if tuple(features.shape[1:]) != expected:
        raise LuminaError(
            f"The text features of the encoder in {folder} are {features.shape[1]} tokens of {features.shape[2]} "
            f"channels, but the network expects {expected[0]} of {expected[1]}; change text_tokens and text_dim.",
            field="features",
            kind="mismatch",
        )
    module.set_null_text(features[0], mask[0])
