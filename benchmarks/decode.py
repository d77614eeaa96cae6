"""Memory and time of decoding and encoding, and the error of decoding in tiles: `python -m benchmarks.decode`.

Memory: bytes of tensors alive at the peak of the released network in bfloat16 at 1248x704, 16 and 96 frames, on the
meta device, which computes shapes alone: the check of values and the move to the CPU are left out. Workspace of a
convolution does not count.
Seconds: a small network of the same layers on the CPU with random weights, interleaved with diffusers' own decode.
Tiles: PSNR in dB of the tiled decode against the whole one, of the bundled VAE on drawn clips (16 side by side) and of
the CogVideoX layers with random weights, whose frames mean nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from unittest import mock

import torch

from benchmarks.common.harness import make_parser, run
from benchmarks.common.tensor_memory import TensorMemory
from benchmarks.common.timing_rounds import TimingRounds
from lumina_core.mini.draw import draw
from lumina_core.mini.world import random_scene
from lumina_core.pipelines.bundle import find_bundle
from lumina_core.vae import codec as vae_codec
from lumina_core.vae.codec import VideoVAE
from lumina_core.vae.loader import RELEASED, load_video_vae

HEIGHT, WIDTH, TILE = 704, 1248, 64
SHORT, LONG = 16, 96
SMALL = {"block_out_channels": (16, 32, 32, 64), "norm_num_groups": 8, "layers_per_block": 1}
GIB = 2**30
# Overlap of neighboring tiles, as a share of a tile.
OVERLAPS = (0.0, 0.125, 0.25, 0.5)


def measure(_) -> dict:
    torch.manual_seed(0)
    return {"memory": memory(), "seconds": seconds(), "tiles": tiles()}


def memory() -> list[dict]:
    """Memory at the peak for 16 and for 96 frames, and elements per pixel of a frame."""
    with torch.device("meta"):
        library = _network(**RELEASED).to(torch.bfloat16)
    vae = VideoVAE(library)
    cases = {
        "decode, frames streamed": (_latents, lambda x: _drain(vae.decode_stream(x))),
        "decode into one tensor": (_latents, vae.decode),
        f"decode in tiles of {TILE * 8} pixels, frames streamed": (
            _latents,
            lambda x: _drain(vae.decode_stream(x, TILE)),
        ),
        "encode": (_frames, vae.encode),
        "diffusers' own decode": (_latents, lambda x: library.decode(x.bfloat16())),
        "diffusers' own encode": (_frames, lambda x: library.encode(x.bfloat16().permute(3, 0, 1, 2)[None])),
    }
    return [{"what": name, **_row(*case)} for name, case in cases.items()]


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
            with TensorMemory() as live:
                case(clip)
            peaks.append(live.peak)
    return {"short_gib": peaks[0] / GIB, "long_gib": peaks[1] / GIB, "per_pixel": peaks[0] / 2 / HEIGHT / WIDTH}


def _latents(frames: int) -> torch.Tensor:
    return torch.empty(1, 16, frames // 4, HEIGHT // 8, WIDTH // 8)


def _frames(frames: int) -> torch.Tensor:
    return torch.empty(frames, HEIGHT, WIDTH, 3)


def _drain(parts) -> None:
    for _ in parts:
        pass


def seconds() -> list[dict]:
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
        timed = TimingRounds(rounds=3, tries=5).time(calls)
    return [
        {"what": "streamed / diffusers", "ratio": timed.ratio("ours", "library"), **timed.fields()},
        {"what": "in tiles / streamed", "ratio": timed.ratio("tiled", "ours"), **timed.fields()},
    ]


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
            row = {"vae": name, "tile": tile}
            for overlap in OVERLAPS:
                part = vae.decode(latents, tile, int(tile * overlap))
                row[f"o{1000 * overlap:.0f}"] = float(-10 * (part - whole).square().mean().log10())
            found.append(row)
    return found


if __name__ == "__main__":
    run("decode", make_parser(__doc__).parse_args(), measure)
