"""Lumina-Video without a host: text to video by a multi-scale flow model (arXiv 2502.06782)."""

from .checkpoints.video import load_video_model
from .errors import LuminaError
from .network.video import MultiScaleNextDiT
from .sampling.plan import Evaluation, SamplingPlan
from .sampling.presets import PRESETS
from .sampling.step_update import StepUpdate
from .sampling.video import SamplingCancelled, sample
from .shapes.latents import LatentSize, VideoSize
from .shapes.schedules import PatchSize, Piecewise, ScheduleError, parse_number, parse_patch
from .version import __version__

__all__ = [
    "PRESETS",
    "Evaluation",
    "LatentSize",
    "LuminaError",
    "MultiScaleNextDiT",
    "PatchSize",
    "Piecewise",
    "SamplingCancelled",
    "SamplingPlan",
    "ScheduleError",
    "StepUpdate",
    "VideoSize",
    "__version__",
    "load_video_model",
    "parse_number",
    "parse_patch",
    "sample",
]
