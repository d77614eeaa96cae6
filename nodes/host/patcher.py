"""A model patcher for networks that are not built of the host's layers."""

from __future__ import annotations

import comfy.model_patcher

_EVERYTHING = 1e32  # bytes; what the host itself writes for "no limit"


class WholePatcher(comfy.model_patcher.ModelPatcher):
    """Moves its network as a whole: layers of other libraries cannot be streamed from the offload device."""

    def partially_load(self, device_to, extra_memory=0, force_patch_weights=False):
        return super().partially_load(device_to, extra_memory=_EVERYTHING, force_patch_weights=force_patch_weights)

    def partially_unload(self, *args, **kwargs):
        # Nothing freed makes the host unload all of it.
        return 0
