"""A warning at the start of a run that is larger or longer than the training size."""

from __future__ import annotations

import logging

import comfy.patcher_extension

from ...lumina_core.network.extrapolation import size_warning
from ...lumina_core.shapes.latents import LatentSize
from ..names import OPTIONS_KEY
from .messages import executing_node, send_text
from .run_options import RunOptions

logger = logging.getLogger(__name__)


def warn_of_size(patcher):
    """Make every run of this model check its size; returns ``patcher``."""
    key = OPTIONS_KEY + "_size"
    patcher.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, key, _check_size)
    return patcher


def _check_size(executor, noise, *args, **kwargs):
    guider = executor.class_obj
    network = guider.model_patcher.model.diffusion_model
    options = RunOptions.of_model_options(guider.model_options)
    frames, height, width = (1, *noise.shape[2:])[-3:]
    patches = options.schedule(network.config).values
    text = size_warning(network.config, LatentSize(frames, height, width), patches, options.network)
    if text:
        logger.warning("Lumina-Video: %s", text)
        if (node := executing_node()) is not None:
            send_text(node, text)
    return executor(noise, *args, **kwargs)
