"""Writes frames with metadata to .mp4 (H.264) and .png files, atomically."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch

from ..errors import LuminaError
from ..runtime.atomic import atomic_write, temporary_name
from ..shapes.frame_rate import check_fps

# CRF of x264: visually lossless, so that artifacts are those of the model and not of the codec.
QUALITY = "17"
# Metadata that the container adds itself.
CONTAINER_KEYS = {"major_brand", "minor_version", "compatible_brands", "encoder"}


@dataclass(frozen=True)
class VideoInfo:
    """What was written: path, width and height in pixels, number of frames, and frames per second."""

    path: Path
    width: int
    height: int
    frames: int
    fps: float


def check_target(path: str | Path, suffix: str) -> Path:
    """Check that a file with this suffix can be written, for use before long work; returns the path as a Path.

    Raises LuminaError for another suffix, a missing or read-only folder, or if the path is a folder.
    """
    target = Path(path)
    if target.suffix.lower() != suffix:
        raise LuminaError(
            f"Output {target.name} has suffix {target.suffix!r}, expected a name ending in {suffix}.",
            field="out",
            kind="value",
        )
    if target.is_dir():
        raise LuminaError(f"Output {target} is a folder, expected a file name in it.", field="out", kind="value")
    if not target.parent.is_dir():
        raise LuminaError(
            f"Output folder {target.parent} does not exist; create it or choose another.", field="out", kind="missing"
        )
    probe = temporary_name(target)
    try:
        probe.touch()
    except OSError as error:
        raise LuminaError(
            f"Output folder {target.parent} cannot be written to ({error.strerror}); choose another.",
            field="out",
            kind="resource",
        ) from error
    probe.unlink(missing_ok=True)
    return target


def write_video(
    path: str | Path,
    frames: torch.Tensor | Iterable[torch.Tensor],
    fps: float,
    metadata: dict[str, str] | None = None,
) -> VideoInfo:
    """Write an .mp4 while frames arrive; an existing file is replaced only once all of them are encoded.

    Args:
        path: of the file.
        frames: one (f, H, W, 3) float tensor in 0..1 with even H and W, or an iterable of them.
        fps: frames per second.
        metadata: any keys; ``read_metadata`` and ffprobe read them.

    Raises:
        LuminaError: the path, fps or shape is invalid, there are no frames, or values are NaN or infinite. An existing
            file is unchanged.
    """
    target = check_target(path, ".mp4")
    check_fps(fps)
    chunks = iter([frames] if isinstance(frames, torch.Tensor) else frames)
    first = next(chunks, None)
    if first is None or not len(first):
        raise LuminaError(
            f"There are no frames to write to {target.name}; give at least one.", field="frames", kind="missing"
        )
    height, width = _check_frames(first)
    if height % 2 or width % 2:
        raise LuminaError(
            f"The frames are {width}x{height} pixels, expected even width and height for H.264; crop or resize them.",
            field="frames",
            kind="value",
        )
    with atomic_write(target) as part:
        count = _encode(part, chain([first], chunks), (height, width), fps, metadata or {})
    return VideoInfo(target, width, height, count, float(fps))


def write_image(path: str | Path, frame: torch.Tensor, metadata: dict[str, str] | None = None) -> Path:
    """Write one frame, (H, W, 3) or (1, H, W, 3) float in 0..1, to a .png file; an existing file is replaced.

    Raises LuminaError for an invalid path or shape, several frames, or values that are NaN or infinite.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    target = check_target(path, ".png")
    frames = frame[None] if frame.ndim == 3 else frame
    _check_frames(frames)
    if len(frames) != 1:
        raise LuminaError(
            f"There are {len(frames)} frames for {target.name}, expected one; write them as .mp4.",
            field="frames",
            kind="value",
        )
    info = PngInfo()
    for key, value in (metadata or {}).items():
        info.add_itxt(key, value)
    with atomic_write(target) as part:
        Image.fromarray(_to_bytes(frames)[0]).save(part, format="PNG", pnginfo=info)
    return target


def read_metadata(path: str | Path) -> dict[str, str]:
    """The metadata of a file of ``write_video`` or ``write_image``. Raises LuminaError if it cannot be read."""
    source = Path(path)
    if not source.is_file():
        raise LuminaError(
            f"Media file {source} does not exist; give an .mp4 or .png file.", field="file", kind="missing"
        )
    if source.suffix.lower() == ".png":
        return _png_metadata(source)
    import av

    try:
        with av.open(source) as container:
            return {key: value for key, value in container.metadata.items() if key not in CONTAINER_KEYS}
    except av.FFmpegError as error:
        raise LuminaError(
            f"{source} cannot be read as a video; give an .mp4 or .png file.", field="file", kind="file"
        ) from error


def _png_metadata(source: Path) -> dict[str, str]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(source) as image:
            # Only PNG images have the attribute.
            return {key: str(value) for key, value in cast(Any, image).text.items()}
    except (UnidentifiedImageError, OSError, AttributeError) as error:
        raise LuminaError(
            f"{source} cannot be read as a .png image; give an .mp4 or .png file.", field="file", kind="file"
        ) from error


def _encode(part: Path, chunks: Iterable[torch.Tensor], size: tuple[int, int], fps: float, metadata: dict) -> int:
    import av

    # use_metadata_tags keeps keys that mp4 does not define; faststart lets browsers play the file while it loads.
    options = {"movflags": "faststart+use_metadata_tags"}
    count = 0
    with av.open(part, "w", format="mp4", options=options) as container:
        container.metadata.update(metadata)
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": QUALITY}
        context = stream.codec_context
        # Many players show other colors if the video is not tagged.
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = 1  # 16..235
        for chunk in chunks:
            if _check_frames(chunk) != size:
                raise LuminaError(
                    f"Frame {count} is {chunk.shape[2]}x{chunk.shape[1]} pixels, expected {size[1]}x{size[0]} like the "
                    "first one.",
                    field="frames",
                    kind="value",
                )
            for image in _to_bytes(chunk):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace="ITU709")))
                count += 1
        container.mux(stream.encode())
    return count


def _check_frames(frames: torch.Tensor) -> tuple[int, int]:
    if frames.ndim != 4 or frames.shape[-1] != 3 or not frames.is_floating_point():
        raise LuminaError(
            f"The frames are {str(frames.dtype).removeprefix('torch.')} of shape {tuple(frames.shape)}, "
            "expected float (frames, height, width, 3) in 0..1.",
            field="frames",
            kind="value",
        )
    return frames.shape[1], frames.shape[2]


def _to_bytes(frames: torch.Tensor):
    """(f, H, W, 3) float in 0..1 to a numpy array of bytes, rounded."""
    if not frames.isfinite().all():
        raise LuminaError(
            "The frames contain NaN or infinite values, expected 0..1; decode them again in another dtype.",
            field="frames",
            kind="numerics",
        )
    return frames.detach().float().mul(255).round_().clamp_(0, 255).to("cpu", torch.uint8).contiguous().numpy()
