"""Every node class of the pack, in menu order."""

from __future__ import annotations

from comfy_api.latest import io

from .audio_conditioning import AudioConditioning, DecodeAudio, EmptyAudioLatent
from .audio_guider import AudioGuider
from .audio_loaders import AudioCodecLoader, AudioModelLoader, FeatureEncodersLoader
from .compile import Compile
from .conditioning import MotionScore, TextEncode
from .context_drop import ContextDrop
from .extrapolation import Extrapolation
from .image_loaders import ImageModelLoader
from .image_to_video import ImageToVideo
from .latents import EmptyLatent, LatentPreview, Noise
from .loaders import ModelLoader, TextEncoderLoader, VAELoader
from .motion import MeasureMotion
from .multi_scale_sampler import MultiScaleSampler
from .sampling import Guider, Sigmas, SplitSigmas
from .schedules import Guidance, PatchSchedule, Preset
from .size import Size
from .solver import Solver
from .step_cache import StepCache
from .video_to_audio import VideoToAudio

NODE_CLASSES: list[type[io.ComfyNode]] = [
    MultiScaleSampler,
    ModelLoader,
    TextEncoderLoader,
    VAELoader,
    ImageModelLoader,
    TextEncode,
    MotionScore,
    Preset,
    PatchSchedule,
    Guidance,
    StepCache,
    ContextDrop,
    Extrapolation,
    Compile,
    Guider,
    Sigmas,
    SplitSigmas,
    Solver,
    Size,
    EmptyLatent,
    Noise,
    LatentPreview,
    ImageToVideo,
    MeasureMotion,
    VideoToAudio,
    AudioModelLoader,
    FeatureEncodersLoader,
    AudioCodecLoader,
    AudioConditioning,
    EmptyAudioLatent,
    AudioGuider,
    DecodeAudio,
]
