"""torch.compile for the network's blocks by the host's own mechanism, and eager where that cannot be."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from functools import partial

import comfy.patcher_extension
from comfy_api.latest import io
from comfy_api.torch_helpers import set_torch_compile_wrapper

from ..lumina_core.network.compilation import BACKEND, EagerAfterFailure, missing_piece, runs_eager
from .host.node_ui import warn
from .host.video_model import check_ours
from .names import OPTIONS_KEY, schema

TITLE = "Lumina-Video Compile"
KEY = OPTIONS_KEY + "_compile"
_APPLY_MODEL = comfy.patcher_extension.WrappersMP.APPLY_MODEL


def set_compiled(model, backend: str | Callable = BACKEND, report: Callable[[str], object] = logging.warning):
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


class Compile(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "Compile",
            title=TITLE,
            description="Compiles the model's blocks with torch.compile. The first steps take minutes; all "
            "later steps are faster, in this run and the next. If a compiler is missing, the node shows a "
            "warning and the model runs uncompiled.",
            aliases=("torch.compile", "inductor", "triton", "speed up", "faster"),
            inputs=[io.Model.Input("model", tooltip="A Lumina-Video MODEL, LoRAs included.")],
            outputs=[io.Model.Output(tooltip="The model with compiled blocks.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model) -> io.NodeOutput:
        missing = missing_piece(model.load_device)
        if missing:
            return io.NodeOutput(model, ui=warn(cls, TITLE, [runs_eager(missing)]))
        return io.NodeOutput(set_compiled(model))
