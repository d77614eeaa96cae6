"""The sound network that a run trains."""

from __future__ import annotations

import torch

from ...audio.clip_loader import load_clip
from ...audio.features import CLIP
from ...checkpoints.audio import load_audio_model
from ...errors import LuminaError
from ...network.audio import AudioNextDiT
from ..distributed import ALONE, Processes
from ..initialise import initialise
from ..network import Trained, prepared, start_weights
from ..rng import generator
from ..state import newest_state
from .recipe import AudioRecipe


def build_audio_network(recipe: AudioRecipe, device: torch.device, processes: Processes = ALONE) -> Trained:
    """The recipe's network on a device: new, or with the weights of ``start_from``. Raises LuminaError."""
    if recipe.start_from is not None:
        module = load_audio_model(start_weights(recipe.start_from)).requires_grad_(True)
    else:
        module = AudioNextDiT(recipe.config())
        initialise(module, generator(recipe.seed, "weights"))
        # A run that goes on finds them in its saved state.
        if newest_state(recipe.out) is None:
            _keep_null_text(module, recipe, device)
    module.null_text.requires_grad_(False)
    module.null_text_mask.requires_grad_(False)
    return prepared(module, recipe, device, processes)


def _keep_null_text(module: AudioNextDiT, recipe: AudioRecipe, device: torch.device) -> None:
    clip = load_clip(recipe.features / CLIP, device)
    features, mask = clip.text([""])
    wanted = tuple(module.null_text.shape)
    if tuple(features.shape[1:]) != wanted:
        raise LuminaError(
            f"The encoder in {recipe.features} gives texts of {features.shape[1]} tokens, {features.shape[2]} wide, "
            f"and the recipe's network reads {wanted[0]}, {wanted[1]} wide; change text_tokens and text_dim."
        )
    module.set_null_text(features[0], mask[0])
