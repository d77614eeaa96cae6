"""A node for torch.compile: MODEL to MODEL."""

from __future__ import annotations

from comfy_api.latest import io

from ..lumina_core.network.compilation import eager_message, missing_requirement
from .host.compilation import set_compiled
from .host.node_ui import warn
from .names import schema

TITLE = "Lumina-Video Compile"


class Compile(io.ComfyNode):
    """A MODEL with compiled blocks; unchanged, with a warning, if no compiler is available."""

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
        missing = missing_requirement(model.load_device)
        if missing:
            return io.NodeOutput(model, ui=warn(cls, TITLE, [eager_message(missing)]))
        return io.NodeOutput(set_compiled(model))
