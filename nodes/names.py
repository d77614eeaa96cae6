"""Node ids, display names and the category: the one place. Ids are frozen once shipped."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from comfy_api.latest import io

CATEGORY = "Lumina-Video"
AUDIO_CATEGORY = "Lumina-Video/audio"
PREFIX = "LuminaVideo"
OPTIONS_KEY = "lumina_video"
"""Our one key in ``transformer_options``."""
MOTION_KEY = "lumina_video_motion"
"""Our one key in a video's conditioning entry."""
AUDIO_KEY = "lumina_video_sound"
"""Begins our keys in a sound's conditioning entry, and is that of its length in a LATENT."""
AUDIO_CODEC, AUDIO_FEATURES = "LUMINA_SOUND_CODEC", "LUMINA_SOUND_FEATURES"
"""Types of links that the host has none for."""


def schema(
    name: str,
    *,
    title: str,
    description: str,
    inputs: Sequence[io.Input],
    outputs: Sequence[io.Output],
    aliases: Sequence[str] = (),
    advanced: Sequence[str] = (),
    **more,
) -> io.Schema:
    """A schema with our prefix and, unless ``more`` gives one, our category.

    Keywords that an older host does not know are left out.

    Args:
        name: of the node class.
        aliases: further words that the search finds the node by.
        advanced: inputs that the page shows only on request.
    """
    keywords = {
        "node_id": PREFIX + name,
        "display_name": title,
        "category": CATEGORY,
        "description": description,
        "inputs": list(inputs),
        "outputs": list(outputs),
        "search_aliases": ["lumina", *aliases],
        **more,
    }
    for widget in inputs:
        if widget.id in advanced:
            # Both hosts hand these fields on to the page; only the newer one has a parameter for it.
            widget.extra_dict = {**widget.extra_dict, "advanced": True}
    for output in outputs:
        # The older host would show the type of a named output in place of its name.
        output.display_name = output.display_name or output.id
    known = inspect.signature(io.Schema).parameters
    return io.Schema(**{key: value for key, value in keywords.items() if key in known})
