"""Images and frames from the caller, as tensors, arrays, PIL images or files, converted to one kind of tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..errors import LuminaError


def as_frames(value: Any, field: str) -> torch.Tensor:
    """Convert images to frames (N, H, W, 3), float32 in 0..1, on the CPU.

    Args:
        value: a tensor or numpy array (H, W, 3) or (N, H, W, 3), float in 0..1 or uint8; a PIL image; or a list of
            these, all of the same size.
        field: name of the parameter, for error messages.

    Raises:
        LuminaError: another type or shape, no frames, or values outside 0..1.
    """
    frames = _tensor(value, field)
    frames = frames[None] if frames.ndim == 3 else frames
    if frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise LuminaError(
            f"{field} has shape {tuple(frames.shape)}; give one image (height, width, 3) or frames (N, height, width, "
            "3).",
            field=field,
            kind="value",
        )
    if frames.dtype == torch.uint8:
        return frames.cpu().float() / 255
    if not frames.is_floating_point():
        raise LuminaError(
            f"{field} has dtype {frames.dtype}; give floats in 0..1, or uint8.", field=field, kind="value"
        )
    low, high = (float(end) for end in frames.aminmax())
    # NaN fails this comparison too. Bicubic resizing overshoots slightly.
    if not (-0.01 <= low and high <= 1.01):
        raise LuminaError(
            f"{field} has values from {low:g} to {high:g}; give floats in 0..1, or uint8.", field=field, kind="value"
        )
    return frames.detach().cpu().float().clamp(0, 1)


def read_image(path: str | Path, field: str = "image") -> torch.Tensor:
    """An image file as (1, H, W, 3), float32 in 0..1, with EXIF rotation applied and without transparency.

    Args:
        path: of the file.
        field: name of the parameter, for error messages.

    Raises:
        LuminaError: the file does not exist, or Pillow cannot read it.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    source = Path(path)
    if not source.is_file():
        raise LuminaError(f"Image {source} does not exist or is a folder; give a file.", field=field, kind="missing")
    try:
        with Image.open(source) as image:
            return as_frames(ImageOps.exif_transpose(image), field)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise LuminaError(
            f"{source} cannot be read as an image; give a .png, .jpg or .webp file.", field=field, kind="file"
        ) from error


def fit_frames(frames: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Center-crop frames to the aspect ratio of ``width`` x ``height``, then resize them (bicubic, antialiased).

    Args:
        frames: (N, H, W, 3) float in 0..1; those of the right size are returned unchanged.
        width, height: in pixels.

    Returns:
        (N, height, width, 3).
    """
    found_height, found_width = frames.shape[1:3]
    if (found_width, found_height) == (width, height):
        return frames
    kept_width = min(found_width, max(1, round(found_height * width / height)))
    kept_height = min(found_height, max(1, round(found_width * height / width)))
    top, left = (found_height - kept_height) // 2, (found_width - kept_width) // 2
    cropped = frames[:, top : top + kept_height, left : left + kept_width].permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(cropped, (height, width), mode="bicubic", antialias=True)
    return resized.clamp(0, 1).permute(0, 2, 3, 1).contiguous()


def _tensor(value: Any, field: str) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, (list, tuple)) and value:
        parts = [as_frames(each, field) for each in value]
        if any(part.shape[1:] != parts[0].shape[1:] for part in parts):
            raise LuminaError(
                f"The frames of {field} have different sizes; give frames of the same size.", field=field, kind="value"
            )
        return torch.cat(parts)
    convert = getattr(value, "convert", None)  # a PIL image, without importing Pillow
    value = value if convert is None else convert("RGB")
    try:
        import numpy

        return torch.from_numpy(numpy.array(value))
    except (TypeError, ValueError) as error:
        raise LuminaError(
            f"{field} is a {type(value).__name__}; give a tensor, a numpy array or a PIL image.",
            field=field,
            kind="value",
        ) from error
