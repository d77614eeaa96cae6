"""Video features that condition the audio model: CLIP vectors at 8 fps, and Synchformer features at 25 fps.

Source of the rates and the preprocessing: MMAudio (hkchengrex/MMAudio, mmaudio/eval_utils.py).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from ..errors import LuminaError
from ..media.reader import frames_at, probe
from ..runtime.atomic import atomic_write
from ..runtime.tensor_files import check_finite, read_safetensors
from ..shapes.audio_rates import CLIP_FPS, SEGMENT, SLOTS, STRIDE, SYNC_FPS
from ..shapes.frame_rate import check_fps
from .clip import ClipFeatures
from .clip_loader import load_clip
from .feature_config import CLIP, SYNC, check_feature_folder
from .frame_times import check_frames, frame_indices
from .synchformer import SyncEncoder
from .synchformer_loader import load_sync_encoder

FEATURES_KEY = "lumina_video_features"  # safetensors metadata entry of a feature file
LONGEST = 120.0  # seconds; longer videos must be cut into scenes first
_BATCH = 24  # frames in memory at a time
_MAX_ASPECT = 10  # largest ratio of the longer to the shorter side
_TENSORS = ("visual", "sync")


@dataclass(frozen=True)
class VideoFeatures:
    """Features of B clips of the same duration.

    Args:
        visual: CLIP unit vectors of the frames at 8 fps, (B, N, width).
        sync: Synchformer features (B, S, 8, width) of S segments of 16 frames at 25 fps with a stride of 8 frames. The
            last frame is repeated so that the segments cover the whole clip.
        seconds: duration of each clip.
    """

    visual: torch.Tensor
    sync: torch.Tensor
    seconds: float


class FeatureEncoder:
    """CLIP and Synchformer, frozen. Created by ``load_feature_encoder``."""

    def __init__(self, clip: ClipFeatures, sync: SyncEncoder) -> None:
        self.clip = clip
        self.sync = sync

    @property
    def widths(self) -> tuple[int, int, int]:
        """Widths of the visual, sync and text features."""
        return self.clip.width, self.sync.config.width, self.clip.text_width

    def frames(self, frames: torch.Tensor, fps: float, seconds: float | None = None) -> VideoFeatures:
        """Features of a clip in memory, with B = 1.

        Args:
            frames: (n, H, W, 3) float in 0..1, at least two.
            fps: frames per second, above 0.
            seconds: duration from the first frame on, by default the whole clip. After the last frame, that frame is
                repeated.

        Raises:
            LuminaError: frames, fps or seconds are out of range, or an encoder returns values that are not finite.
        """
        check_fps(fps)
        check_frames(frames)
        seconds = check_seconds(len(frames) / fps if seconds is None else seconds)
        visual, sync = (
            (frames[at] for at in frame_indices(len(frames), fps, rate, seconds).split(_BATCH))
            for rate in (CLIP_FPS, SYNC_FPS)
        )
        return self._features(visual, sync, seconds)

    def file(self, path: str | Path, start: float = 0.0, seconds: float | None = None) -> VideoFeatures:
        """Features of a video file, with B = 1. Frames are selected by timestamp; a few are in memory at a time.

        Args:
            path: the video.
            start: seconds from the beginning, within the video.
            seconds: duration, by default up to the end. After the last frame, that frame is repeated.

        Raises:
            LuminaError: the file cannot be read or has one frame, start or seconds is out of range, or an encoder
                returns values that are not finite.
        """
        video = probe(path)
        if not (math.isfinite(start) and 0 <= start < video.seconds):
            raise LuminaError(
                f"start is {start} s, and {path} lasts {video.seconds:g} s; choose a start within the video.",
                field="start",
                kind="value",
            )
        if video.seconds * video.fps < 1.5:
            raise LuminaError(
                f"{path} has 1 frame, and audio needs motion; give a video with 2 or more.", field="video", kind="value"
            )
        seconds = check_seconds(video.seconds - start if seconds is None else seconds)
        visual, sync = (_read(path, seconds, rate, start, video.fps) for rate in (CLIP_FPS, SYNC_FPS))
        return self._features(visual, sync, seconds)

    def text(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token features (B, L, width) and mask (B, L) of texts, see ``ClipFeatures.text``."""
        return self.clip.text(texts)

    def _features(self, visual: Iterator[torch.Tensor], sync: Iterator[torch.Tensor], seconds: float) -> VideoFeatures:
        vectors = torch.cat([self.clip.visual(part) for part in visual])
        return VideoFeatures(vectors[None], self._sync(sync)[None], seconds)

    @torch.no_grad()
    def _sync(self, parts: Iterator[torch.Tensor]) -> torch.Tensor:
        """Features (S, 8, width) float32 of consecutive chunks of frames at 25 fps."""
        weight = self.sync.cls_token
        pending = weight.new_zeros(0, 3, self.sync.config.side, self.sync.config.side)
        features = []
        for part in parts:
            pending = torch.cat([pending, square(part.to(weight.device), self.sync.config.side).to(weight.dtype)])
            ready = (len(pending) - SEGMENT) // STRIDE + 1
            if ready > 0:
                features.append(self.sync(segments(pending)))
                pending = pending[STRIDE * ready :]
        # The first STRIDE of the pending frames are already covered by the last segment.
        if not features or len(pending) > STRIDE:
            last = pending[-1:].expand(SEGMENT - len(pending), -1, -1, -1)
            features.append(self.sync(segments(torch.cat([pending, last]))))
        result = torch.cat(features, dim=1)[0].float()
        if not result.isfinite().all():
            raise LuminaError(
                "The sync encoder returned NaN or infinite values; load it in float32.", field="sync", kind="numerics"
            )
        return result


def load_feature_encoder(folder: str | Path, device: torch.device | str = "cpu") -> FeatureEncoder:
    """Load both encoders in float32 from a folder with clip/ and sync/.

    Raises LuminaError for files that are missing, damaged or of another model.
    """
    folder = Path(folder)
    check_feature_folder(folder)
    return FeatureEncoder(load_clip(folder / CLIP, device), load_sync_encoder(folder / SYNC, device))


def square(frames: torch.Tensor, side: int) -> torch.Tensor:
    """Resize the shorter side and center-crop: frames (n, H, W, 3) in 0..1 to (n, 3, side, side) in -1..1.

    This is Synchformer's own preprocessing. Raises LuminaError if one side is more than 10 times the other.
    """
    height, width = frames.shape[1:3]
    if max(height, width) > _MAX_ASPECT * min(height, width):
        raise LuminaError(
            f"The frames are {width}x{height}; crop them to an aspect ratio of at most {_MAX_ASPECT}:1.",
            field="frames",
            kind="value",
        )
    images = frames.float().permute(0, 3, 1, 2)
    size = tuple(int(side * length / min(height, width)) for length in (height, width))
    if size != (height, width):
        images = F.interpolate(images, size, mode="bicubic", antialias=True)
    top, left = (round((length - side) / 2) for length in size)
    return images[:, :, top : top + side, left : left + side].clamp(0, 1) * 2 - 1


def segments(frames: torch.Tensor) -> torch.Tensor:
    """All complete segments of frames (n, 3, H, W), as a batch of one clip: (1, S, 3, 16, H, W)."""
    return frames.unfold(0, SEGMENT, STRIDE).permute(0, 1, 4, 2, 3)[None]


def short_clip_notice(seconds: float) -> str | None:
    """A notice for the user if a clip is shorter than one segment of the sync encoder, else None."""
    segment = SEGMENT / SYNC_FPS
    if seconds >= segment:
        return None
    return (
        f"The clip lasts {seconds:.3g} s, and the sync encoder takes segments of {segment:g} s: "
        "the last frame is repeated to fill one."
    )


def check_seconds(seconds: float) -> float:
    """``seconds`` as a float. Raises LuminaError if it is not a supported duration: above 1/16 up to 120 s."""
    if not (math.isfinite(seconds) and 1 / CLIP_FPS / 2 < seconds <= LONGEST):
        raise LuminaError(
            f"The clip is {seconds:g} s long; use a clip of {1 / CLIP_FPS:g} to {LONGEST:g} s.",
            field="seconds",
            kind="value",
        )
    return float(seconds)


def _read(path: str | Path, seconds: float, rate: float, start: float, fps: float) -> Iterator[torch.Tensor]:
    """Chunks of the frames displayed at times start + k / rate; after the end, the last frame is repeated."""
    # The displayed frame is the one nearest to half a frame earlier. 0.499 allows for rounded timestamps.
    count = round(seconds * rate)
    times = [max(0.0, start + number / rate - 0.499 / fps) for number in range(count)]
    part: list[torch.Tensor] = []
    sent, last = 0, None
    for last in frames_at(path, times):
        part.append(last)
        if len(part) == _BATCH:
            yield torch.stack(part).float() / 255
            sent, part = sent + len(part), []
    if last is None:
        raise LuminaError(f"{path} has no frame at {start:g} s; choose an earlier start.", field="start", kind="value")
    part += [last] * (count - sent - len(part))
    for first in range(0, len(part), _BATCH):
        yield torch.stack(part[first : first + _BATCH]).float() / 255


def save_features(path: str | Path, features: VideoFeatures, source: str) -> None:
    """Write features to a .safetensors file atomically. source: what they were computed from, such as a file name."""
    from safetensors.torch import save_file

    tensors = {name: getattr(features, name).detach().cpu().contiguous() for name in _TENSORS}
    text = json.dumps({"of": source, "seconds": features.seconds})
    with atomic_write(Path(path)) as part:
        save_file(tensors, part, metadata={FEATURES_KEY: text})


def load_features(path: str | Path, source: str | None = None) -> VideoFeatures:
    """Read a file written by ``save_features``.

    Raises LuminaError if the file is damaged or, with ``source``, was computed from something else.
    """
    path = Path(path)
    tensors, metadata = read_safetensors(path)
    if FEATURES_KEY not in metadata:
        raise LuminaError(
            f"{path.name} contains no video features (no '{FEATURES_KEY}' in its header); save the features again.",
            field="features",
            kind="file",
        )
    try:
        header = json.loads(metadata[FEATURES_KEY])
        found, seconds = str(header["of"]), check_seconds(float(header["seconds"]))
    except (ValueError, KeyError, TypeError):
        raise LuminaError(
            f"The header of {path.name} is damaged; save the features again.", field="features", kind="file"
        ) from None
    if source is not None and found != source:
        raise LuminaError(
            f"{path.name} contains features of '{found}', not of '{source}'; save the features again.",
            field="features",
            kind="mismatch",
        )
    check_finite(path.name, tensors)
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    visual, sync = shapes.get("visual", ()), shapes.get("sync", ())
    if set(shapes) != set(_TENSORS) or len(visual) != 3 or len(sync) != 4 or sync[2] != SLOTS or visual[0] != sync[0]:
        raise LuminaError(
            f"{path.name} contains {shapes}, expected visual (B, N, D) and sync (B, S, 8, D); save the features again.",
            field="features",
            kind="file",
        )
    return VideoFeatures(tensors["visual"], tensors["sync"], seconds)
