"""A node for RoPE scaling: sizes and lengths beyond training."""

from __future__ import annotations

from comfy_api.latest import io

from ..lumina_core.errors import LuminaError
from ..lumina_core.network.config import VideoConfig
from ..lumina_core.network.forward_options import AS_TRAINED, ROPES
from ..lumina_core.network.rope_scaling import AUTO
from ..lumina_core.shapes.latents import VAE_FRAMES, VAE_SPACE, LatentSize, VideoSize
from .host.model_patches import set_network
from .host.node_ui import warn
from .host.video_model import check_lumina_model
from .names import schema

TITLE = "Lumina-Video Extrapolation"
UNKNOWN = (
    "This checkpoint does not store its training size, so RoPE scaling is off; enter "
    "train_width, train_height and train_frames."
)


def chosen_size(config: VideoConfig, width: int, height: int, frames: int) -> LatentSize | None:
    """The training size in latent units, with zeros replaced by the checkpoint's values; None if all are 0.

    Args:
        config: of the network.
        width, height: in pixels.
        frames: number of frames.

    Raises:
        LuminaError: a value is 0 and the checkpoint stores none, or the size is invalid.
    """
    if not (width or height or frames):
        return None
    if config.train_size is None and not (width and height and frames):
        raise LuminaError(
            f"The training size is {width}x{height} with {frames} frames, and this checkpoint does not store a value "
            "to use for 0; enter all three.",
            field="train_frames" if width and height else "train_height" if width else "train_width",
            kind="missing",
        )
    latent = config.train_size or LatentSize(1, 1, 1)
    stored = (latent.width * VAE_SPACE, latent.height * VAE_SPACE, latent.frames * VAE_FRAMES)
    return VideoSize(width or stored[0], height or stored[1], frames or stored[2]).latent()


class Extrapolation(io.ComfyNode):
    """A MODEL with RoPE scaling and proportional attention."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        side = {"min": 0, "max": 4096, "step": 16, "optional": True}
        return schema(
            "Extrapolation",
            title=TITLE,
            description="RoPE scaling for clips larger or longer than the checkpoint's training size, which "
            "reduces repeated content. Changes nothing up to that size.",
            aliases=("rope scaling", "ntk", "resolution extrapolation", "longer video", "proportional attention"),
            inputs=[
                io.Model.Input("model", tooltip="From Load Lumina-Video Model or Load Lumina-Next Model."),
                io.Combo.Input(
                    "method",
                    options=list(ROPES),
                    default=AS_TRAINED.rope,
                    tooltip="auto uses time if the training size is known and no scaling otherwise; off disables "
                    "scaling. time and time-step change with t from interpolate to ntk; frequency lies between "
                    "the two.",
                ),
                io.Boolean.Input(
                    "proportional",
                    default=AS_TRAINED.proportional,
                    tooltip="Proportional attention: sharpens self-attention when there are more tokens than at "
                    "the training size.",
                ),
                io.Int.Input(
                    "train_width",
                    default=0,
                    tooltip="Training width in pixels; 0 uses the value stored in the checkpoint.",
                    **side,
                ),
                io.Int.Input(
                    "train_height",
                    default=0,
                    tooltip="Training height in pixels; 0 uses the value stored in the checkpoint.",
                    **side,
                ),
                io.Int.Input(
                    "train_frames",
                    default=0,
                    min=0,
                    max=512,
                    step=4,
                    optional=True,
                    tooltip="Training length in frames; 0 uses the value stored in the checkpoint.",
                ),
            ],
            advanced=("proportional", "train_width", "train_height", "train_frames"),
            outputs=[io.Model.Output(tooltip="The model with RoPE scaling.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model, method, proportional, train_width=0, train_height=0, train_frames=0) -> io.NodeOutput:
        check_lumina_model(model, TITLE)
        config = model.model.diffusion_model.config
        size = chosen_size(config, train_width, train_height, train_frames)
        changed = set_network(model, rope=method, proportional=proportional, train_size=size)
        silent = method == AUTO and not proportional and (size or config.train_size) is None
        return io.NodeOutput(changed, ui=warn(cls, TITLE, [UNKNOWN] if silent else []))
