"""Lumina-Video in Python: text-to-video with a multi-scale flow model (arXiv 2502.06782).

Public names are imported at their first use, so that ``import lumina_core`` is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .checkpoints.video import load_video_model
    from .errors import LuminaError
    from .network.video import MultiScaleNextDiT
    from .pipelines.audio import LuminaAudioPipeline
    from .pipelines.audio_output import AudioOutput
    from .pipelines.base import ProgressObserver
    from .pipelines.image import ImageOutput, LuminaImagePipeline
    from .pipelines.video import LuminaVideoPipeline
    from .pipelines.video_output import VideoOutput
    from .sampling.audio import AudioPlan
    from .sampling.frame_conditioning import FrameCondition
    from .sampling.loop import SamplingCancelled
    from .sampling.plan import Evaluation, SamplingPlan
    from .sampling.presets import PRESETS
    from .sampling.step_update import StepUpdate
    from .sampling.video import sample
    from .shapes.latents import LatentSize, VideoSize
    from .shapes.schedules import PatchSize, Piecewise, ScheduleError, parse_number, parse_patch

# Modules of the public names.
_HOMES = {
    "checkpoints.video": ("load_video_model",),
    "errors": ("LuminaError",),
    "network.video": ("MultiScaleNextDiT",),
    "pipelines.audio": ("LuminaAudioPipeline",),
    "pipelines.audio_output": ("AudioOutput",),
    "pipelines.base": ("ProgressObserver",),
    "pipelines.image": ("ImageOutput", "LuminaImagePipeline"),
    "pipelines.video": ("LuminaVideoPipeline",),
    "pipelines.video_output": ("VideoOutput",),
    "sampling.audio": ("AudioPlan",),
    "sampling.frame_conditioning": ("FrameCondition",),
    "sampling.plan": ("Evaluation", "SamplingPlan"),
    "sampling.presets": ("PRESETS",),
    "sampling.step_update": ("StepUpdate",),
    "sampling.loop": ("SamplingCancelled",),
    "sampling.video": ("sample",),
    "shapes.latents": ("LatentSize", "VideoSize"),
    "shapes.schedules": ("PatchSize", "Piecewise", "ScheduleError", "parse_number", "parse_patch"),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "PRESETS",
    "AudioOutput",
    "AudioPlan",
    "Evaluation",
    "FrameCondition",
    "ImageOutput",
    "LatentSize",
    "LuminaAudioPipeline",
    "LuminaError",
    "LuminaImagePipeline",
    "LuminaVideoPipeline",
    "MultiScaleNextDiT",
    "PatchSize",
    "Piecewise",
    "ProgressObserver",
    "SamplingCancelled",
    "SamplingPlan",
    "ScheduleError",
    "StepUpdate",
    "VideoOutput",
    "VideoSize",
    "__version__",
    "load_video_model",
    "parse_number",
    "parse_patch",
    "sample",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
