"""Fit the colours of latent previews: RGB in -1..1 as a linear function of scaled latents, by least squares.

    python benchmarks/fit_preview.py --vae PATH --media FOLDER
    python benchmarks/fit_preview.py --vae PATH --synthetic 8

Clips (and pictures) are encoded by the VAE; the target of a latent pixel is the mean of the 8 x 8 pixels and of the
frames that it stands for. Prints the table for vae/latent_preview.py, R^2 of the table there and of the fitted one,
with and without a bias, and the same as JSON on the last line. Where there are four clips or more, every fourth is left
out of the fit, and R^2 is taken on those alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lumina_core.shapes.latents import LATENT_CHANNELS, VAE_FRAMES, VAE_SPACE  # noqa: E402
from lumina_core.vae.latent_preview import LATENT_RGB_FACTORS  # noqa: E402
from lumina_core.vae.loader import VideoVAE, load_video_vae  # noqa: E402

MEDIA = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif", ".png", ".jpg", ".jpeg", ".webp"}
HELD_OUT = 4

Pixels = tuple[torch.Tensor, torch.Tensor]
"""Latents (N, 16) and RGB in -1..1 (N, 3)."""


def read_clip(file: Path, frames: int, size: int) -> torch.Tensor:
    """The first `frames` frames, fewer where there are fewer, in the lengths the VAE takes: (f, H, W, 3) in 0..1.

    The longer side becomes `size` pixels; both are cut to multiples of 8.
    """
    import av

    try:
        with av.open(file) as container:
            decoded = islice(container.decode(video=0), frames)
            pictures = [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in decoded]
    except (av.FFmpegError, IndexError) as error:
        sys.exit(f"{file} cannot be read as a video or picture ({error}); take it out of the folder.")
    whole = len(pictures) - len(pictures) % 8 or 1
    clip = torch.stack(pictures[:whole]).permute(0, 3, 1, 2).float() / 255
    height, width = clip.shape[-2:]
    scale = min(1.0, size / max(height, width))
    sides = [max(VAE_SPACE, int(side * scale) // VAE_SPACE * VAE_SPACE) for side in (height, width)]
    clip = F.interpolate(clip, size=sides, mode="bilinear", antialias=True, align_corners=False)
    return clip.permute(0, 2, 3, 1).clamp(0, 1)


def media_clips(folder: Path, frames: int, size: int) -> Iterator[torch.Tensor]:
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in MEDIA)
    if not files:
        sys.exit(f"{folder} holds no video or picture; expected files ending in {', '.join(sorted(MEDIA))}.")
    for file in files:
        yield read_clip(file, frames, size)


def synthetic_clips(count: int, frames: int, size: int, seed: int) -> Iterator[torch.Tensor]:
    """Smooth random colours that change in place and time."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        coarse = torch.rand(1, 3, 3, 4, 4, generator=generator)
        clip = F.interpolate(coarse, size=(frames, size, size), mode="trilinear", align_corners=True)
        # Random knots average out to grey; a wider contrast reaches all colours.
        yield ((clip - 0.5) * 1.6 + 0.5).clamp(0, 1)[0].permute(1, 2, 3, 0)


def pixel_pairs(vae: VideoVAE, clip: torch.Tensor) -> Pixels:
    """Every latent pixel of a clip (f, H, W, 3) beside the colour that it stands for."""
    latents = vae.encode(clip)[0]
    colours = F.avg_pool3d(clip.permute(3, 0, 1, 2), (1, VAE_SPACE, VAE_SPACE))
    if len(clip) > 1:
        colours = F.avg_pool3d(colours, (VAE_FRAMES, 1, 1))
    return latents.flatten(1).T, (2 * colours - 1).flatten(1).T


def fit(pairs: Pixels, bias: bool) -> torch.Tensor:
    """The least-squares table (16, 3), or (17, 3) with the bias as its last row, in float64."""
    latents, rgb = pairs
    return torch.linalg.lstsq(_columns(latents, bias), rgb.double(), driver="gelsd").solution


def r_squared(pairs: Pixels, table: torch.Tensor) -> float:
    """Share of the colours' variance that a table of `fit` explains; 1 is all, below 0 is worse than their mean."""
    latents, rgb = pairs[0], pairs[1].double()
    told = _columns(latents, len(table) > LATENT_CHANNELS) @ table.double()
    return 1 - float(((rgb - told) ** 2).sum() / ((rgb - rgb.mean(0)) ** 2).sum())


def _columns(latents: torch.Tensor, bias: bool) -> torch.Tensor:
    latents = latents.double()
    return torch.cat([latents, latents.new_ones(len(latents), 1)], dim=1) if bias else latents


def _joined(parts: Sequence[Pixels]) -> Pixels:
    return torch.cat([latents for latents, _ in parts]), torch.cat([rgb for _, rgb in parts])


def as_literal(name: str, table: torch.Tensor) -> str:
    rows = ",\n".join(f"    [{', '.join(f'{value:.4f}' for value in row)}]" for row in table.tolist())
    return f"{name} = [\n{rows},\n]"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Fit the 16 x 3 latent-to-RGB table of vae/latent_preview.py.")
    parser.add_argument("--vae", type=Path, required=True, help="VAE folder or .safetensors file")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--media", type=Path, help="folder of videos and pictures, read with its subfolders")
    source.add_argument("--synthetic", type=int, metavar="N", help="draw N clips of smooth random colours instead")
    parser.add_argument("--frames", type=int, default=16, help="frames per clip, a multiple of 8 (default 16)")
    parser.add_argument("--size", type=int, default=256, help="longer side in pixels, a multiple of 8 (default 256)")
    parser.add_argument("--device", default="cpu", help="torch device (default cpu)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the synthetic clips (default 0)")
    options = parser.parse_args(arguments)
    for name, step in (("frames", 8), ("size", VAE_SPACE)):
        if (value := getattr(options, name)) < step or value % step:
            parser.error(f"--{name} is {value}; expected a multiple of {step}.")
    if options.synthetic is not None and options.synthetic < 1:
        parser.error(f"--synthetic is {options.synthetic}; expected at least 1.")
    vae = load_video_vae(options.vae, options.device)
    if options.media:
        clips = media_clips(options.media, options.frames, options.size)
    else:
        clips = synthetic_clips(options.synthetic, options.frames, options.size, options.seed)
    report([pixel_pairs(vae, clip) for clip in clips])


def report(clips: list[Pixels]) -> None:
    held_out = clips[HELD_OUT - 1 :: HELD_OUT] or clips
    fitted = [clip for index, clip in enumerate(clips) if index % HELD_OUT != HELD_OUT - 1]
    train, test = _joined(fitted), _joined(held_out)
    tables = {"current": torch.tensor(LATENT_RGB_FACTORS), "fitted": fit(train, False), "with_bias": fit(train, True)}
    print(as_literal("LATENT_RGB_FACTORS", tables["fitted"]))
    print()
    print(as_literal("WITH_BIAS", tables["with_bias"][:-1]))
    print(f"BIAS = [{', '.join(f'{value:.4f}' for value in tables['with_bias'][-1].tolist())}]")
    print()
    scores = {name: round(r_squared(test, table), 4) for name, table in tables.items()}
    print(f"{len(clips)} clips, {len(train[0])} latent pixels fitted, {len(test[0])} tested")
    print(f"{'table':<12}{'R^2':>10}")
    for name, score in scores.items():
        print(f"{name:<12}{score:>10.4f}")
    figures = {
        "clips": len(clips),
        "pixels_fitted": len(train[0]),
        "pixels_tested": len(test[0]),
        "held_out": held_out is not clips,
        "r2": scores,
        "factors": [[round(value, 4) for value in row] for row in tables["fitted"].tolist()],
        "factors_with_bias": [[round(value, 4) for value in row] for row in tables["with_bias"].tolist()],
    }
    print(json.dumps({"fit_preview": figures}))


if __name__ == "__main__":
    main()
