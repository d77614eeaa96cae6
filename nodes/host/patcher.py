"""A model patcher for networks that do not use the host's layers."""

from __future__ import annotations

import comfy.model_patcher

from .oom import EVERYTHING


class WholePatcher(comfy.model_patcher.ModelPatcher):
    """Moves its network as a whole, because layers of other libraries cannot be streamed from the offload device."""

    def partially_load(self, device_to, extra_memory=0, force_patch_weights=False):
        """Load everything, whatever memory the host offers."""
        return super().partially_load(device_to, extra_memory=EVERYTHING, force_patch_weights=force_patch_weights)

    def partially_unload(self, *args, **kwargs):
        """Free nothing, which makes the host unload the whole network."""
        return 0
