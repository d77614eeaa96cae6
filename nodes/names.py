"""Prefix of node ids, categories, keys, and the schema of a node. Ids and keys are frozen once released."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from comfy_api.latest import io

CATEGORY = "Lumina-Video"
AUDIO_CATEGORY = "Lumina-Video/audio"
PREFIX = "LuminaVideo"
# Key of ``RunOptions`` in ``transformer_options``.
OPTIONS_KEY = "lumina_video"
# Key of the motion schedule in a conditioning entry.
MOTION_KEY = "lumina_video_motion"
# Prefix of keys in the conditioning and the LATENT of audio.
AUDIO_KEY = "lumina_video_sound"
# Link types of the audio codec and the feature encoders.
AUDIO_CODEC, AUDIO_FEATURES = "LUMINA_SOUND_CODEC", "LUMINA_SOUND_FEATURES"


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
    """The schema of a node. Arguments that an older host does not know are left out.

    Args:
        name: node id without the prefix.
        title: display name.
        description: tooltip of the node.
        inputs, outputs: in order.
        aliases: further search terms.
        advanced: ids of inputs that the page shows only on request.
        more: further arguments of ``io.Schema``, such as another category.
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
            # Both hosts pass this on to the page, but only the newer one has a parameter for it.
            widget.extra_dict = {**widget.extra_dict, "advanced": True}
    for output in outputs:
        # Without a display name the older host shows the type of an output instead of its id.
        output.display_name = output.display_name or output.id
    known = inspect.signature(io.Schema).parameters
    return io.Schema(**{key: value for key, value in keywords.items() if key in known})
