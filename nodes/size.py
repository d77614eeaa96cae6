"""A node for width and height of an aspect ratio, chosen from the training resolutions of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from ..lumina_core.sampling.presets import DEFAULT_PRESET, preset_clip
from ..lumina_core.shapes.latents import FRAME_BATCH, VideoSize, nearest_multiple
from ..lumina_core.shapes.resolutions import AREAS, RATIOS, area_sizes, pick_size
from .host.node_ui import show
from .inputs import first_fault
from .names import schema
from .plan_inputs import PlanNode

LANDSCAPE, PORTRAIT = "landscape", "portrait"
DEFAULT_AREA = next(name for name, area in AREAS.items() if area == preset_clip(DEFAULT_PRESET).area)
_WIDGETS = ("area", "ratio", "orientation", "seconds", "own_ratio", "own_side")


def chosen_size(
    area: str, ratio: str, orientation: str, seconds: float, own_ratio: str = "", own_side: int = 0
) -> VideoSize:
    """The size that the widgets select; ``orientation`` has no effect on ``own_ratio``. Raises LuminaError."""
    side = _side(area, own_side)
    if own_ratio.strip():
        width, height = pick_size(side, own_ratio, "own_ratio")
    else:
        width, height = pick_size(side, ratio)
        width, height = (height, width) if orientation == PORTRAIT else (width, height)
    frames = nearest_multiple(seconds * AREAS[area].fps, FRAME_BATCH) if seconds > 0 else 1
    return VideoSize(width, height, frames)


def _side(area: str, own_side: int) -> int:
    side = own_side or AREAS[area].side
    area_sizes(side, "own_side")
    return side


def trained_size_inputs() -> list[io.Input]:
    """The inputs area, ratio and orientation, which select a training size."""
    return [
        io.Combo.Input(
            "area",
            options=list(AREAS),
            default=DEFAULT_AREA,
            tooltip="Resolution class of the model: 960-class for f24R960, 512-class for f16R512, "
            "256-class for the first training stage, mini for the bundled model.",
        ),
        io.Combo.Input(
            "ratio",
            options=list(RATIOS),
            default=RATIOS[0],
            tooltip="Aspect ratio, width to height in landscape orientation.",
        ),
        io.Combo.Input(
            "orientation",
            options=[LANDSCAPE, PORTRAIT],
            default=LANDSCAPE,
            tooltip="portrait swaps width and height: 16:9 becomes 9:16.",
        ),
    ]


def seconds_input() -> io.Input:
    """The input seconds."""
    return io.Float.Input(
        "seconds",
        default=4.0,
        min=0.0,
        max=60.0,
        step=0.5,
        tooltip="Length of the clip at the model's frame rate, rounded to 8 frames; 0 makes an image. "
        "The models were trained on up to 4 seconds.",
    )


def own_size_inputs() -> list[io.Input]:
    """The inputs own_ratio and own_side, for other sizes."""
    return [
        io.String.Input(
            "own_ratio",
            default="",
            optional=True,
            placeholder="2.39:1 or 1248x704",
            tooltip="Custom aspect ratio of up to 4:1, or one of the listed sizes. It replaces ratio and "
            "orientation; leave empty to use those.",
        ),
        io.Int.Input(
            "own_side",
            default=0,
            min=0,
            max=2048,
            step=32,
            optional=True,
            tooltip="Custom area, given as the side of a square in pixels; 0 uses the area above. An area "
            "larger than the model's needs RoPE scaling (Lumina-Video Extrapolation).",
        ),
    ]


class Size(PlanNode):
    """Width, height, frames and fps for an aspect ratio."""

    @classmethod
    def plan_fields(cls, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The plan's width, height and frames; empty if a widget is linked or invalid."""
        try:
            size = chosen_size(**{name: inputs[name] for name in _WIDGETS if name in inputs})
        except (KeyError, TypeError, AttributeError, ValueError):
            return {}
        return {"width": size.width, "height": size.height, "frames": size.frames}

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "Size",
            title="Lumina-Video Size",
            description="Width, height and frames for an aspect ratio, chosen from the model's training "
            "resolutions. Connect them to the sampler or to the empty latent.",
            aliases=("aspect ratio", "resolution", "width", "height", "16:9", "portrait", "landscape", "bucket"),
            inputs=[*trained_size_inputs(), seconds_input(), *own_size_inputs()],
            outputs=[
                io.Int.Output("width", tooltip="In pixels."),
                io.Int.Output("height", tooltip="In pixels."),
                io.Int.Output("frames", tooltip="Number of frames; 1 is an image."),
                io.Float.Output("fps", tooltip="Frame rate of the model, for Create Video."),
                io.String.Output("sizes", tooltip="All sizes of the area, one per line, widest first."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(
        cls,
        area: str | None = None,
        ratio: str | None = None,
        orientation: str | None = None,
        seconds: float | None = None,
        own_ratio: str | None = "",
        own_side: int | None = 0,
    ):
        if area is None or ratio is None or orientation is None or seconds is None:
            return True
        if own_ratio is None or own_side is None:
            return True
        return first_fault(lambda: chosen_size(area, ratio, orientation, seconds, own_ratio, own_side))

    @classmethod
    def execute(cls, area, ratio, orientation, seconds, own_ratio="", own_side=0) -> io.NodeOutput:
        size = chosen_size(area, ratio, orientation, seconds, own_ratio, own_side)
        sizes = [f"{width}x{height}" for width, height in area_sizes(_side(area, own_side))]
        clip = "an image" if size.frames == 1 else f"{size.frames} frames"
        shown = show(cls, f"{size.width}x{size.height}, {clip}, one of {len(sizes)} sizes of the area.")
        return io.NodeOutput(
            size.width, size.height, size.frames, float(AREAS[area].fps), "\n".join(sizes), ui=shown.as_dict()
        )
