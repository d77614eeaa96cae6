"""What the sound network sees of a video: a CLIP vector for each of 8 frames a second, and Synchformer's segments."""

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
from ..shapes.frame_rate import check_fps
from .clip import ClipFeatures
from .clip_loader import load_clip
from .feature_config import CLIP, SYNC, check_feature_folder
from .frame_times import check_frames, pick
from .synchformer import SEGMENT, SLOTS, STRIDE, SyncEncoder
from .synchformer_loader import load_sync_encoder

CLIP_FPS, SYNC_FPS = 8.0, 25.0
METADATA_KEY = "lumina_video_features"
LONGEST = 120.0
"""Seconds; longer videos are cut into scenes first."""
_FRAMES_AT_ONCE = 24
_NARROWEST = 10
_TENSORS = ("visual", "sync")


@dataclass(frozen=True)
class VideoFeatures:
    """Of B clips of one length.

    Args:
        visual: unit vectors of the frames at 8 a second, (B, N, width).
        sync: of segments of 16 frames at 25 a second, one each 8 frames, (B, S, 8, width); the last frame is repeated
            so that they cover the whole clip.
        seconds: length of the clips.
    """

    visual: torch.Tensor
    sync: torch.Tensor
    seconds: float


class FeatureEncoder:
    """CLIP and Synchformer, frozen. Made by `load_feature_encoder`."""

    def __init__(self, clip: ClipFeatures, sync: SyncEncoder) -> None:
        self.clip = clip
        self.sync = sync

    @property
    def widths(self) -> tuple[int, int, int]:
        """Of the visual, sync and text features."""
        return self.clip.width, self.sync.config.width, self.clip.text_width

    def frames(self, frames: torch.Tensor, fps: float, seconds: float | None = None) -> VideoFeatures:
        """Features of a clip in memory, (n, H, W, 3) float in 0..1, at least two frames shown at ``fps``.

        seconds: length from the first frame on, else all of it; behind the last frame that one stays. Raises
        LuminaError.
        """
        check_fps(fps)
        check_frames(frames)
        seconds = check_seconds(len(frames) / fps if seconds is None else seconds)
        visual, sync = (
            (frames[at] for at in pick(len(frames), fps, rate, seconds).split(_FRAMES_AT_ONCE))
            for rate in (CLIP_FPS, SYNC_FPS)
        )
        return self._features(visual, sync, seconds)

    def file(self, path: str | Path, start: float = 0.0, seconds: float | None = None) -> VideoFeatures:
        """Features of a video file, every frame by its timestamp; a few are in memory at a time.

        start, seconds: the part, else the whole; behind the last frame that one stays. Raises LuminaError.
        """
        video = probe(path)
        if not (math.isfinite(start) and 0 <= start < video.seconds):
            raise LuminaError(f"The start is {start} s, and {path} lasts {video.seconds:g} s; start within it.")
        if video.seconds * video.fps < 1.5:
            raise LuminaError(f"{path} has 1 frame, and a sound needs something that moves; give 2 or more.")
        seconds = check_seconds(video.seconds - start if seconds is None else seconds)
        visual, sync = (_read(path, seconds, rate, start, video.fps) for rate in (CLIP_FPS, SYNC_FPS))
        return self._features(visual, sync, seconds)

    def text(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """See ``ClipFeatures.text``."""
        return self.clip.text(texts)

    def _features(self, visual: Iterator[torch.Tensor], sync: Iterator[torch.Tensor], seconds: float) -> VideoFeatures:
        vectors = torch.cat([self.clip.visual(part) for part in visual])
        return VideoFeatures(vectors[None], self._sync(sync)[None], seconds)

    @torch.no_grad()
    def _sync(self, parts: Iterator[torch.Tensor]) -> torch.Tensor:
        """Runs of frames at 25 a second to features (S, 8, width) in float32."""
        weight = self.sync.cls_token
        held = weight.new_zeros(0, 3, self.sync.config.side, self.sync.config.side)
        features = []
        for part in parts:
            held = torch.cat([held, square(part.to(weight.device), self.sync.config.side).to(weight.dtype)])
            ready = (len(held) - SEGMENT) // STRIDE + 1
            if ready > 0:
                features.append(self.sync(segments(held)))
                held = held[STRIDE * ready :]
        # What the last segment has not seen yet; of what is left it saw the first half.
        if not features or len(held) > STRIDE:
            last = held[-1:].expand(SEGMENT - len(held), -1, -1, -1)
            features.append(self.sync(segments(torch.cat([held, last]))))
        found = torch.cat(features, dim=1)[0].float()
        if not found.isfinite().all():
            raise LuminaError("The sync encoder gave values that are not finite; load it in float32.")
        return found


def load_feature_encoder(folder: str | Path, device: torch.device | str = "cpu") -> FeatureEncoder:
    """Load both encoders from a folder with clip/ and sync/. Raises LuminaError."""
    folder = Path(folder)
    check_feature_folder(folder)
    return FeatureEncoder(load_clip(folder / CLIP, device), load_sync_encoder(folder / SYNC, device))


def square(frames: torch.Tensor, side: int) -> torch.Tensor:
    """Frames (n, H, W, 3) in 0..1 to the middle square of the picture, (n, 3, side, side) in -1..1. Raises LuminaError.

    The shorter side is resized, then the longer one cut, as Synchformer's own preparation does.
    """
    height, width = frames.shape[1:3]
    if max(height, width) > _NARROWEST * min(height, width):
        raise LuminaError(f"The frames are {width}x{height}; crop them to a picture less than {_NARROWEST} to 1.")
    pictures = frames.float().permute(0, 3, 1, 2)
    size = tuple(int(side * length / min(height, width)) for length in (height, width))
    if size != (height, width):
        pictures = F.interpolate(pictures, size, mode="bicubic", antialias=True)
    top, left = (round((length - side) / 2) for length in size)
    return pictures[:, :, top : top + side, left : left + side].clamp(0, 1) * 2 - 1


def segments(frames: torch.Tensor) -> torch.Tensor:
    """All whole segments of frames (n, 3, H, W), as one clip: (1, S, 3, 16, H, W)."""
    return frames.unfold(0, SEGMENT, STRIDE).permute(0, 1, 4, 2, 3)[None]


def shortness(seconds: float) -> str | None:
    """A sentence where a clip ends within the sync encoder's first segment, else None."""
    segment = SEGMENT / SYNC_FPS
    if seconds >= segment:
        return None
    return (
        f"The clip lasts {seconds:.3g} s, and the sync encoder looks at {segment:g} s at a time: "
        "its last frame is held for the rest."
    )


def check_seconds(seconds: float) -> float:
    """The length, if features are made of a clip that long. Raises LuminaError."""
    if not (math.isfinite(seconds) and 1 / CLIP_FPS / 2 < seconds <= LONGEST):
        raise LuminaError(
            f"The clip is {seconds:g} s long; sounds are made for clips of {1 / CLIP_FPS:g} to {LONGEST:g} s."
        )
    return float(seconds)


def _read(path: str | Path, seconds: float, rate: float, start: float, fps: float) -> Iterator[torch.Tensor]:
    """Runs of the frames on the screen at so many times of a file; the last one stays when the file ends."""
    # The frame nearest to half a frame ago is the one on the screen; a little less, for times in files are rounded.
    count = round(seconds * rate)
    times = [max(0.0, start + number / rate - 0.499 / fps) for number in range(count)]
    part: list[torch.Tensor] = []
    sent, last = 0, None
    for last in frames_at(path, times):
        part.append(last)
        if len(part) == _FRAMES_AT_ONCE:
            yield torch.stack(part).float() / 255
            sent, part = sent + len(part), []
    if last is None:
        raise LuminaError(f"{path} has no picture at {start:g} s; start earlier.")
    part += [last] * (count - sent - len(part))
    for run in range(0, len(part), _FRAMES_AT_ONCE):
        yield torch.stack(part[run : run + _FRAMES_AT_ONCE]).float() / 255


def save_features(path: str | Path, features: VideoFeatures, of: str) -> None:
    """Write features to a .safetensors file, whole or not at all. of: what they were made of, such as a file's name."""
    from safetensors.torch import save_file

    tensors = {name: getattr(features, name).detach().cpu().contiguous() for name in _TENSORS}
    text = json.dumps({"of": of, "seconds": features.seconds})
    with atomic_write(Path(path)) as part:
        save_file(tensors, part, metadata={METADATA_KEY: text})


def load_features(path: str | Path, of: str | None = None) -> VideoFeatures:
    """Read what `save_features` wrote; with ``of``, only features of that. Raises LuminaError."""
    path = Path(path)
    tensors, metadata = read_safetensors(path)
    if METADATA_KEY not in metadata:
        raise LuminaError(f"{path.name} holds no video features (no '{METADATA_KEY}' in its header); make them again.")
    try:
        said = json.loads(metadata[METADATA_KEY])
        source, seconds = str(said["of"]), check_seconds(float(said["seconds"]))
    except (ValueError, KeyError, TypeError):
        raise LuminaError(f"The header of {path.name} is damaged; make the features again.") from None
    if of is not None and source != of:
        raise LuminaError(f"{path.name} holds features of '{source}', not of '{of}'; make them again.")
    check_finite(path.name, tensors)
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    visual, sync = shapes.get("visual", ()), shapes.get("sync", ())
    if set(shapes) != set(_TENSORS) or len(visual) != 3 or len(sync) != 4 or sync[2] != SLOTS or visual[0] != sync[0]:
        raise LuminaError(f"{path.name} holds {shapes}, expected visual (B, N, D) and sync (B, S, 8, D).")
    return VideoFeatures(tensors["visual"], tensors["sync"], seconds)
