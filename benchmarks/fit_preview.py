"""Fit the colors of latent previews: RGB in -1..1 as a linear function of scaled latents, by least squares.

    python -m benchmarks.fit_preview --vae PATH --media FOLDER

Clips and images are encoded by the VAE; the target of a latent pixel is the mean of the 8 x 8 pixels and of the frames
that it covers. Prints the factors for vae/latent_preview.py, and R^2 of those there and of the fitted ones. With four
clips or more, every fourth is left out of the fit, and R^2 is of those alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F

from benchmarks.common.harness import make_parser, progress, run
from lumina_core.errors import LuminaError
from lumina_core.shapes.latents import VAE_FRAMES, VAE_SPACE
from lumina_core.vae.latent_preview import LATENT_RGB_FACTORS
from lumina_core.vae.loader import VideoVAE, load_video_vae

MEDIA = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif", ".png", ".jpg", ".jpeg", ".webp"}
HELD_OUT = 4
# Latents (N, 16) and RGB in -1..1 (N, 3).
Pixels = tuple[torch.Tensor, torch.Tensor]


def media_files(folder: Path) -> list[Path]:
    """Videos and images in a folder and its subfolders. Raises LuminaError where there is none."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in MEDIA)
    if not files:
        kinds = ", ".join(sorted(MEDIA))
        raise LuminaError(f"{folder} holds no video or image ({kinds}).", field="media", kind="missing")
    return files


def read_clip(file: Path, frames: int, size: int) -> torch.Tensor:
    """The first `frames` frames, cut to a length that the VAE takes: (f, H, W, 3) in 0..1.

    The longer side becomes at most `size` pixels; both are cut to multiples of 8.
    """
    import av

    with av.open(file) as container:
        images = [torch.from_numpy(x.to_ndarray(format="rgb24")) for x in islice(container.decode(video=0), frames)]
    clip = torch.stack(images[: len(images) - len(images) % 8 or 1]).permute(0, 3, 1, 2).float() / 255
    scale = min(1.0, size / max(clip.shape[-2:]))
    sides = [max(VAE_SPACE, int(side * scale) // VAE_SPACE * VAE_SPACE) for side in clip.shape[-2:]]
    clip = F.interpolate(clip, size=sides, mode="bilinear", antialias=True, align_corners=False)
    return clip.permute(0, 2, 3, 1).clamp(0, 1)


def pixel_pairs(vae: VideoVAE, clip: torch.Tensor) -> Pixels:
    """Every latent pixel of a clip (f, H, W, 3), and the color that it covers."""
    latents = vae.encode(clip)[0]
    colors = F.avg_pool3d(clip.permute(3, 0, 1, 2), (1, VAE_SPACE, VAE_SPACE))
    if len(clip) > 1:
        colors = F.avg_pool3d(colors, (VAE_FRAMES, 1, 1))
    return latents.flatten(1).T, (2 * colors - 1).flatten(1).T


def fit(pairs: Pixels) -> torch.Tensor:
    """The least-squares factors (16, 3), in float64."""
    return torch.linalg.lstsq(pairs[0].double(), pairs[1].double(), driver="gelsd").solution


def r_squared(pairs: Pixels, factors: torch.Tensor) -> float:
    """Share of the colors' variance that the factors explain; 1 is all, below 0 is worse than their mean."""
    rgb = pairs[1].double()
    error = rgb - pairs[0].double() @ factors.double()
    return 1 - float(error.square().sum() / (rgb - rgb.mean(0)).square().sum())


def joined(clips: Sequence[Pixels]) -> Pixels:
    return torch.cat([latents for latents, _ in clips]), torch.cat([rgb for _, rgb in clips])


def measure(args: argparse.Namespace) -> dict:
    vae, clips = load_video_vae(args.vae, args.device), []
    for file in media_files(args.media):
        clips.append(pixel_pairs(vae, read_clip(file, args.frames, args.size)))
        progress(file.name)
    train = joined([clip for index, clip in enumerate(clips) if index % HELD_OUT != HELD_OUT - 1])
    test = joined(clips[HELD_OUT - 1 :: HELD_OUT] or clips)
    factors = fit(train)
    rows = ",\n".join(f"    [{', '.join(f'{value:.4f}' for value in row)}]" for row in factors.tolist())
    print(f"LATENT_RGB_FACTORS = [\n{rows},\n]")
    tables = {"current": torch.tensor(LATENT_RGB_FACTORS), "fitted": factors}
    return {
        "clips": len(clips), "pixels_fitted": len(train[0]), "pixels_tested": len(test[0]),
        "factors": factors.tolist(),
        "r2": [{"table": name, "r2": r_squared(test, table)} for name, table in tables.items()],
    }  # fmt: skip


def multiple_of_8(text: str) -> int:
    if int(text) < 8 or int(text) % 8:
        raise argparse.ArgumentTypeError(f"{text} is no multiple of 8")
    return int(text)


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--vae", type=Path, required=True, help="VAE folder or .safetensors file")
    parser.add_argument("--media", type=Path, required=True, help="folder of videos and images, with its subfolders")
    parser.add_argument("--frames", type=multiple_of_8, default=16, help="frames per clip (default %(default)s)")
    parser.add_argument("--size", type=multiple_of_8, default=256, help="longer side in pixels (default %(default)s)")
    parser.add_argument("--device", default="cpu", help="torch device (default %(default)s)")
    run("fit_preview", parser.parse_args(), measure)
