"""The clip for which audio is generated: IMAGE and fps, or VIDEO, read by the timestamps of its frames."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

from comfy_api.latest import InputImpl, io

from ..lumina_core.audio.features import VideoFeatures
from ..lumina_core.audio.files import has_audio
from ..lumina_core.media.reader import rate_varies
from ..lumina_core.sampling.presets import DEFAULT_PRESET, preset_clip
from ..lumina_core.shapes.frame_rate import check_fps
from .host.audio_parts import HostFeatures
from .inputs import ABSENT, check_one, first_fault

REPLACED = "The video already has an audio track; the new audio is generated without it and replaces it."
UNEVEN = (
    "The video has a variable frame rate, and the audio follows its timestamps; Create "
    "Video shows every frame for the same time, so connect images and fps of Get Video Components "
    "here if the result goes there."
)


def clip_inputs() -> list[io.Input]:
    """The inputs images and fps, or video. The links are optional, so they come last in a node."""
    return [
        io.Float.Input(
            "fps",
            default=float(preset_clip(DEFAULT_PRESET).fps),
            min=0.01,
            max=1000.0,
            step=0.01,
            tooltip="Frame rate of images; use the same value in Create Video. A video provides its own.",
        ),
        io.Image.Input(
            "images", optional=True, tooltip="Frames of one clip, in order. Connect either images or video."
        ),
        io.Video.Input("video", optional=True, tooltip="A video with any frame rate. Connect either video or images."),
    ]


def clip_fault(title: str, fps: float | None, images: object, video: object) -> bool | str:
    """The result of ``validate_inputs`` of the node ``title`` for these inputs: True or an error message."""
    return first_fault(lambda: check_one(title, images, video), lambda: fps is None or check_fps(fps))


def clip_features(features: HostFeatures, fps: float, images: Any, video: Any) -> tuple[VideoFeatures, list[str]]:
    """Features of the clip, and warnings about it.

    Args:
        features: the loaded encoders.
        fps: frame rate of ``images``.
        images, video: IMAGE (F, H, W, 3) in 0..1 or a VIDEO; the other is ``ABSENT``.

    Raises:
        LuminaError: the clip cannot be read or is too short.
    """
    encoder = features.loaded()
    if video is ABSENT:
        return encoder.frames(images[..., :3], fps), []
    source = video.get_stream_source() if isinstance(video, InputImpl.VideoFromFile) else None
    if source is None:
        parts = video.get_components()
        heard = parts.audio is not None
        return encoder.frames(parts.images[..., :3], float(parts.frame_rate)), [REPLACED] * heard
    # The older host cannot trim a video.
    start, seconds = video.get_active_trim_window() if hasattr(video, "get_active_trim_window") else (0.0, 0.0)
    # The requested part may end after the video does.
    seconds = min(seconds, video.get_duration()) if seconds else None
    with tempfile.TemporaryDirectory() as folder:
        if not isinstance(source, str):
            # Decoding from memory would lose the timestamps, so write the video to a file.
            Path(folder, "clip").write_bytes(source.getbuffer())
            source = str(Path(folder, "clip"))
        uneven = rate_varies(source, start, seconds or math.inf)
        warnings = [REPLACED] * has_audio(source) + [UNEVEN] * uneven
        return encoder.file(source, start, seconds), warnings
