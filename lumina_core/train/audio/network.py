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
from ..initialise import initialise
from ..network import TrainableModel, start_weights, wrap_model
from ..rng import generator
from ..state import newest_state
from .recipe import AudioRecipe


def build_audio_network(recipe: AudioRecipe, device: torch.device, dist: DistContext = SINGLE) -> TrainableModel:
    """The recipe's network on a device: new, or with the weights of ``start_from``. Raises LuminaError."""
    if recipe.start_from is not None:
        module = load_audio_model(start_weights(recipe.start_from)).requires_grad_(True)
    else:
        module = AudioNextDiT(recipe.config())
        initialise(module, generator(recipe.seed, "weights"))
        # A run that is resumed finds them in its saved state.
        if newest_state(recipe.out) is None and recipe.features is not None:
            _keep_null_text(module, recipe.features, device)
    module.null_text.requires_grad_(False)
    module.null_text_mask.requires_grad_(False)
    return wrap_model(module, recipe, device, dist)


def _keep_null_text(module: AudioNextDiT, folder: Path, device: torch.device) -> None:
    clip = load_clip(folder / CLIP, device)
    features, mask = clip.text([""])
    wanted = tuple(module.null_text.shape)
    if tuple(features.shape[1:]) != wanted:
        raise LuminaError(
            f"The encoder in {folder} gives texts of {features.shape[1]} tokens, {features.shape[2]} wide, "
            f"and the recipe's network reads {wanted[0]}, {wanted[1]} wide; change text_tokens and text_dim.",
            field="features",
            kind="mismatch",
        )
    module.set_null_text(features[0], mask[0])
