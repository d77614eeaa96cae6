"""Does decoding a longer clip take more memory? Peak resident memory of decoding 96 frames against 32, output apart.

    python benchmarks/decode_memory.py

Every case runs in a process of its own: random weights, 128x96 pixels, frames are looked at and dropped. A figure is
the peak after decoding less the peak after loading and one warm-up batch of a tiny picture. The row `diffusers` is the
library's own decode, which keeps the clip. On a CPU the scratch memory of the convolutions outweighs the clip, so the
last column says it more sharply: growth over the bytes of the extra frames; 1 is a clip kept whole, 0 a flat decode.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lumina_core.shapes import VAE_SPACE, LatentSize  # noqa: E402
from lumina_core.vae_codec import VideoVAE  # noqa: E402

METHODS = ("stream", "tiled", "diffusers")
FRAMES = (32, 96)
HEIGHT, WIDTH = 12, 16
TILE = 8
TARGET = 1.3


def peak_mib() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def measure(method: str, frames: int) -> float:
    """Peak MiB above the loaded state of decoding `frames` frames; runs in a fresh process."""
    from diffusers import AutoencoderKLCogVideoX

    torch.manual_seed(0)
    torch.set_num_threads(1)
    module = AutoencoderKLCogVideoX(block_out_channels=(8, 8, 16, 16), norm_num_groups=4, layers_per_block=2)
    vae = VideoVAE(module.eval().requires_grad_(False))
    latents = torch.randn(1, 16, frames // 4, HEIGHT, WIDTH)
    vae.decode(latents[:, :, :2, :4, :4])
    loaded = peak_mib()
    if method == "diffusers":
        count = module.decode(latents).sample.shape[2]
    else:
        count = sum(len(chunk) for chunk in vae.decode_stream(latents, TILE if method == "tiled" else None))
    if count != LatentSize(*latents.shape[2:]).pixel_frames:
        raise RuntimeError(f"{method} gave {count} frames of {frames}")
    return peak_mib() - loaded


def in_fresh_process(method: str, frames: int) -> float:
    command = [sys.executable, __file__, "--method", method, "--frames", str(frames)]
    # glibc raises this limit as it goes and then keeps freed blocks, which blurs the peak by a quarter.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description="Peak memory of decoding 96 frames against 32.")
    parser.add_argument("--method", choices=METHODS, help="measure one case in this process")
    parser.add_argument("--frames", type=int, help="frames of that case, a multiple of 8")
    arguments = parser.parse_args()
    if arguments.method:
        print(measure(arguments.method, arguments.frames or FRAMES[0]))
        return
    print(f"{'method':<12}{'32 frames':>12}{'96 frames':>12}{'ratio':>8}{'clip kept':>11}")
    rows = {}
    extra = (FRAMES[1] - FRAMES[0]) * HEIGHT * WIDTH * VAE_SPACE**2 * 3 * 4 / 2**20  # MiB of float32 pixels
    for method in METHODS:
        short, long = (in_fresh_process(method, frames) for frames in FRAMES)
        row = {"mib_32": short, "mib_96": long, "ratio": long / short, "clip_kept": (long - short) / extra}
        rows[method] = {key: round(value, 3) for key, value in row.items()}
        print(f"{method:<12}{short:>8.1f} MiB{long:>8.1f} MiB{long / short:>8.2f}{row['clip_kept']:>11.2f}")
    ratio = rows["stream"]["ratio"]
    print(f"target: at most {TARGET} for stream")
    print(json.dumps({"benchmark": "decode_memory", **rows, "target": TARGET, "met": ratio <= TARGET}))


if __name__ == "__main__":
    main()
