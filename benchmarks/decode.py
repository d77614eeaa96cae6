"""Memory and time of decoding and encoding, and what tiles cost: `python benchmarks/decode.py [--write FILE]`.

Memory: bytes of tensors alive at the peak (`live_bytes.py`) of the released network in bfloat16 at 1248x704, 16 frames
against 96, on the meta device, which computes shapes alone: there the check of values and the move to the processor are
left out. What a convolution takes and gives back within itself is not counted.
Seconds: a small network of the same layers on the CPU with random weights, in turns with diffusers' own whole decode.
Tiles: PSNR in dB of the tiled decode against the whole one, of the bundled VAE on drawn clips (16 side by side) and of
the CogVideoX layers with random weights, whose pictures mean nothing.
Prints tables and, as the last line, one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.live_bytes import LiveBytes  # noqa: E402 - found through the line above
from benchmarks.load import Quiet  # noqa: E402
from benchmarks.performance import section, write_section  # noqa: E402
from benchmarks.tables.sections import prose, table  # noqa: E402
from lumina_core.mini.draw import draw  # noqa: E402
from lumina_core.mini.world import random_scene  # noqa: E402
from lumina_core.pipelines.bundle import find_bundle  # noqa: E402
from lumina_core.vae import codec as vae_codec  # noqa: E402
from lumina_core.vae.codec import VideoVAE  # noqa: E402
from lumina_core.vae.loader import RELEASED, load_video_vae  # noqa: E402

HEIGHT, WIDTH, TILE = 704, 1248, 64
SHORT, LONG = 16, 96
SMALL = {"block_out_channels": (16, 32, 32, 64), "norm_num_groups": 8, "layers_per_block": 1}
OUTPUT = (LONG - SHORT) * HEIGHT * WIDTH * 3 * 4
"""Bytes of the frames that the longer clip has more."""
SHARES = (0.0, 0.125, 0.25, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory and time of decoding, and what tiles cost.")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the section into this document")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    result = {"benchmark": "decode", "memory": memory(), "seconds": seconds(), "tiles": tiles()}
    ours = result["memory"]["decode into one tensor"]
    result["met"] = ours["long"] <= ours["short"] + OUTPUT
    text = document(result)
    print(text)
    if arguments.write:
        write_section(arguments.write, "decode", text)
    print(json.dumps(result))


def memory() -> dict[str, dict]:
    """Bytes at the peak for 16 and for 96 frames, and numbers per pixel of a picture."""
    with torch.device("meta"):
        library = _network(**RELEASED).to(torch.bfloat16)
    vae = VideoVAE(library)
    cases = {
        "decode, frames passed on": (_latents, lambda x: _drain(vae.decode_stream(x))),
        "decode into one tensor": (_latents, vae.decode),
        f"decode in tiles of {TILE * 8} pixels, frames passed on": (
            _latents,
            lambda x: _drain(vae.decode_stream(x, TILE)),
        ),
        "encode": (_frames, vae.encode),
        "diffusers' own decode": (_latents, lambda x: library.decode(x.bfloat16())),
        "diffusers' own encode": (_frames, lambda x: library.encode(x.bfloat16().permute(3, 0, 1, 2)[None])),
    }
    return {name: _row(*case) for name, case in cases.items()}


def _row(given: Callable[[int], torch.Tensor], case: Callable[[torch.Tensor], object]) -> dict[str, float]:
    with (
        torch.device("meta"),
        torch.no_grad(),
        mock.patch.object(vae_codec, "_is_finite", lambda values: True),
        mock.patch.object(vae_codec, "_moved", lambda cache, device: cache),
        mock.patch.object(torch.Tensor, "cpu", lambda tensor: tensor),
    ):
        peaks = []
        for frames in (SHORT, LONG):
            clip = given(frames)
            with LiveBytes() as live:
                case(clip)
            peaks.append(live.peak)
    return {"short": peaks[0], "long": peaks[1], "per_pixel": peaks[0] / 2 / HEIGHT / WIDTH}


def _latents(frames: int) -> torch.Tensor:
    return torch.empty(1, 16, frames // 4, HEIGHT // 8, WIDTH // 8)


def _frames(frames: int) -> torch.Tensor:
    return torch.empty(frames, HEIGHT, WIDTH, 3)


def _drain(parts) -> None:
    for _ in parts:
        pass


def seconds() -> dict[str, float]:
    """Ratios of the seconds of decoding 16 frames at 128x128."""
    library = _network(**SMALL)
    vae = VideoVAE(library)
    latents = torch.randn(1, 16, 4, 16, 16)
    calls = {
        "ours": lambda: _drain(vae.decode_stream(latents)),
        "tiled": lambda: _drain(vae.decode_stream(latents, 8)),
        "library": lambda: library.decode(latents),
    }
    with torch.no_grad():
        timed = Quiet(rounds=3, tries=5).time(calls)
    return {
        "ours_to_library": timed.ratio("ours", "library"),
        "tiled_to_ours": timed.ratio("tiled", "ours"),
        **timed.fields(),
    }


def _network(**config) -> torch.nn.Module:
    from diffusers import AutoencoderKLCogVideoX

    return AutoencoderKLCogVideoX(**config).eval().requires_grad_(False)


def tiles() -> list[dict]:
    """PSNR of tiled decodes for tile sizes and overlaps."""
    mini = load_video_vae(find_bundle("mini").vae)
    rng = random.Random(0)
    clips = [draw(random_scene(rng))[:8] for _ in range(16)]
    rows = [torch.cat(clips[start : start + 4], dim=2) for start in range(0, 16, 4)]
    smooth = torch.nn.functional.interpolate(torch.randn(1, 16, 2, 8, 8), size=(2, 32, 32), mode="trilinear")
    found = []
    for name, vae, latents in (
        ("bundled, drawn clips", mini, mini.encode(torch.cat(rows, dim=1))),
        ("CogVideoX layers, random weights", VideoVAE(_network(**SMALL)), smooth),
    ):
        whole = vae.decode(latents)
        for tile in (8, 16):
            for share in SHARES:
                part = vae.decode(latents, tile, int(tile * share))
                error = (part - whole).square().mean()
                found.append({"vae": name, "tile": tile, "overlap": share, "psnr": float(-10 * error.log10())})
    return found


def document(result: dict) -> str:
    gib = 2**30
    head = ["", f"{SHORT} frames, GiB", f"{LONG} frames, GiB", "numbers per pixel"]
    rows = [
        [name, f"{row['short'] / gib:.2f}", f"{row['long'] / gib:.2f}", f"{row['per_pixel']:.0f}"]
        for name, row in result["memory"].items()
    ]
    spent = result["seconds"]
    quality = [["VAE", "tile", *(f"overlap {share:g}" for share in SHARES)]]
    for vae, tile in dict.fromkeys((row["vae"], row["tile"]) for row in result["tiles"]):
        cells = [f"{row['psnr']:.1f}" for row in result["tiles"] if (row["vae"], row["tile"]) == (vae, tile)]
        quality.append([vae, str(tile), *cells])
    return section(
        "decode",
        prose(
            f"Released network, bfloat16, {WIDTH}x{HEIGHT}, counted on the meta device: bytes of tensors alive at the "
            f"peak, weights and what is given apart. {LONG - SHORT} frames in float32 are {OUTPUT / gib:.2f} GiB. What "
            "waiting tiles keep for their next frames is in the figure of tiles, though it is moved off a GPU."
        ),
        table(head, rows),
        prose(
            f"Seconds (small network, CPU, one thread): streamed {spent['ours_to_library']:.2f} of diffusers' own, "
            f"tiles {spent['tiled_to_ours']:.2f} of streamed; {spent['rounds_used']} rounds, other processes used "
            f"{spent['others_cores'] or 0:.2f} cores, {spent['rounds_noisy']} rounds were disturbed."
        ),
        prose(
            "PSNR in dB of a decode in tiles against the whole one. Tiles are in latent pixels, the overlap is the "
            "share of a tile that neighbours have in common; the default is a quarter."
        ),
        table(quality[0], quality[1:]),
        command="python benchmarks/decode.py --write docs/performance.md",
    )


if __name__ == "__main__":
    main()
