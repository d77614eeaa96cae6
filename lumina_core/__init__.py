"""Lumina-Video without a host: text to video by a multi-scale flow model (arXiv 2502.06782)."""

from .checkpoint import load_video_model
from .errors import LuminaError
from .plan import Evaluation, SamplingPlan
from .presets import PRESETS
from .sampler import SamplingCancelled, StepInfo, sample
from .schedules import PatchSize, Piecewise, ScheduleError, parse_number, parse_patch
from .shapes import LatentSize, VideoSize
from .video_model import MultiScaleNextDiT

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
    "StepInfo",
    "VideoSize",
    "load_video_model",
    "parse_number",
    "parse_patch",
    "sample",
]
