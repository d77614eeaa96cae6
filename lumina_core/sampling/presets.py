"""The four released sampling presets under their released names, and those of the mini bundle.

Source of the released values: official ``configs/sample/__init__.py``, where ``points`` is called ``step``.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..shapes.latents import VideoSize
from ..shapes.resolutions import AREAS, Area, pick_size
from .plan import SamplingPlan

_R960 = SamplingPlan(
    patch="1x2",
    guidance="20 | 0.2: 0",
    motion=6.0,
    negative_motion="2 | 0.05: 6",
    renorm=2.0,
    time_shift=24.0,
    points=70,
)
_R512 = _R960.replace(guidance="12 | 0.4: 0", renorm=-1.0, time_shift=8.0)
_MINI = SamplingPlan(
    patch="1x2",
    guidance="4 | 0.48: 0",
    motion=3.0,
    time_shift=4.0,
    points=31,
)

# Presets by name.
PRESETS: dict[str, SamplingPlan] = {
    "f24F96R960-MultiScale": _R960.replace(patch="2x4 | 0.03: 2x2 | 0.125: 1x2"),
    "f24F96R960": _R960,
    "f16F64R512-MultiScale": _R512.replace(patch="2x4 | 0.075: 2x2 | 0.3: 1x2"),
    "f16F64R512": _R512,
    "mini-MultiScale": _MINI.replace(patch="2x4 | 0.1: 2x2 | 0.35: 1x2"),
    "mini": _MINI,
}
DEFAULT_PRESET = "f24F96R960-MultiScale"


@dataclass(frozen=True)
class PresetClip:
    """The clip that a preset was made for.

    Args:
        area: training area of the model.
        size: pixels and frames, one of the sizes of that area.
    """

    area: Area
    size: VideoSize

    @property
    def fps(self) -> int:
        """Frames per second of the training clips."""
        return self.area.fps


def _clip(area: Area, ratio: str) -> PresetClip:
    return PresetClip(area, VideoSize(*pick_size(area.side, ratio), area.frames))


_CLIPS = {
    "f24F96R960": _clip(AREAS["960-class"], "16:9"),
    "f16F64R512": _clip(AREAS["512-class"], "16:9"),
    "mini": _clip(AREAS["mini"], "1:1"),
}


def preset_clip(name: str) -> PresetClip:
    """Size and frame rate of preset ``name``; a multi-scale preset shares those of its single-scale one."""
    return _CLIPS[name.removesuffix("-MultiScale")]
