"""The sound network that a run trains."""

from __future__ import annotations

import torch

from ...audio.clip_files import load_clip
from ...audio.features import CLIP
from ...audio_checkpoint import load_sound_model
from ...audio_model import SoundNextDiT
from ...errors import LuminaError
from ..chance import generator
from ..distributed import ALONE, Processes
from ..initialise import initialise
from ..network import Trained, prepared, start_weights
from ..state import newest_state
from .recipe import SoundRecipe


def build_sound_network(recipe: SoundRecipe, device: torch.device, processes: Processes = ALONE) -> Trained:
    """The recipe's network on a device: new, or with the weights of ``start_from``. Raises LuminaError."""
    if recipe.start_from is not None:
        module = load_sound_model(start_weights(recipe.start_from)).requires_grad_(True)
    else:
        module = SoundNextDiT(recipe.config())
        initialise(module, generator(recipe.seed, "weights"))
        # A run that goes on finds them in its saved state.
        if newest_state(recipe.out) is None:
            _keep_null_text(module, recipe, device)
    module.null_text.requires_grad_(False)
    module.null_text_mask.requires_grad_(False)
    return prepared(module, recipe, device, processes)


def _keep_null_text(module: SoundNextDiT, recipe: SoundRecipe, device: torch.device) -> None:
    clip = load_clip(recipe.features / CLIP, device)
    features, mask = clip.text([""])
    wanted = tuple(module.null_text.shape)
    if tuple(features.shape[1:]) != wanted:
        raise LuminaError(
            f"The encoder in {recipe.features} gives texts of {features.shape[1]} tokens, {features.shape[2]} wide, "
            f"and the recipe's network reads {wanted[0]}, {wanted[1]} wide; change text_tokens and text_dim."
        )
    module.set_null_text(features[0], mask[0])
