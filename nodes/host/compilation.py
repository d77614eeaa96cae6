"""torch.compile for the network's blocks by the host's own mechanism."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from functools import partial

import comfy.patcher_extension
from comfy_api.torch_helpers import set_torch_compile_wrapper

from ...lumina_core.network.compilation import BACKEND, EagerAfterFailure
from ..names import OPTIONS_KEY
from .video_model import check_ours

logger = logging.getLogger(__name__)

KEY = OPTIONS_KEY + "_compile"
_APPLY_MODEL = comfy.patcher_extension.WrappersMP.APPLY_MODEL


def set_compiled(model, backend: str | Callable = BACKEND, report: Callable[[str], object] = logger.warning):
    """A clone whose blocks are compiled at their first call; all of them and all patch sizes share their graphs.

    ``report`` is given one sentence where compiling fails and blocks run eager after all. Raises LuminaError on a MODEL
    of another kind.
    """
    check_ours(model, "Lumina-Video Compile")
    # The newer host's dynamic offload moves weights in ways that cannot be compiled; its own node does the same.
    plain = {"disable_dynamic": True} if "disable_dynamic" in inspect.signature(model.clone).parameters else {}
    model = model.clone(**plain)
    layers = range(len(model.model.diffusion_model.layers))
    model.remove_wrappers_with_key(_APPLY_MODEL, KEY)
    # Added first, so around the one that puts the compiled blocks in place.
    model.add_wrapper_with_key(_APPLY_MODEL, KEY, partial(_guarded, EagerAfterFailure(report)))
    set_torch_compile_wrapper(
        model=model, backend=backend, dynamic=True, keys=[f"diffusion_model.layers.{index}" for index in layers]
    )
    return model


def _guarded(guard: EagerAfterFailure, executor, *args, **kwargs):
    return guard(executor, *args, **kwargs)
