"""torch.compile for the network's blocks, with the host's own mechanism."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from functools import partial

import comfy.patcher_extension
from comfy_api.torch_helpers import set_torch_compile_wrapper

from ...lumina_core.network.compilation import BACKEND, EagerAfterFailure
from ..names import OPTIONS_KEY
from .video_model import check_lumina_model

logger = logging.getLogger(__name__)

KEY = OPTIONS_KEY + "_compile"
_APPLY_MODEL = comfy.patcher_extension.WrappersMP.APPLY_MODEL


def set_compiled(model, backend: str | Callable = BACKEND, report: Callable[[str], object] = logger.warning):
    """A clone whose blocks are compiled at their first call. All blocks and all patch sizes share the compiled graphs.

    Args:
        model: a Lumina-Video or Lumina-Next MODEL.
        backend: of torch.compile.
        report: called with one sentence if compiling fails; the blocks then run without it.

    Raises:
        LuminaError: a MODEL of another kind.
    """
    check_lumina_model(model, "Lumina-Video Compile")
    # Weights under the newer host's dynamic offload cannot be compiled; its own node turns it off, too.
    plain = {"disable_dynamic": True} if "disable_dynamic" in inspect.signature(model.clone).parameters else {}
    model = model.clone(**plain)
    layers = range(len(model.model.diffusion_model.layers))
    model.remove_wrappers_with_key(_APPLY_MODEL, KEY)
    # Added first, so it is the outer wrapper of the one that swaps in the compiled blocks.
    model.add_wrapper_with_key(_APPLY_MODEL, KEY, partial(_guarded, EagerAfterFailure(report)))
    set_torch_compile_wrapper(
        model=model, backend=backend, dynamic=True, keys=[f"diffusion_model.layers.{index}" for index in layers]
    )
    return model


def _guarded(guard: EagerAfterFailure, executor, *args, **kwargs):
    return guard(executor, *args, **kwargs)
