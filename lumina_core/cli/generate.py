"""``generate``: a prompt becomes an mp4."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..checkpoint import read_video_config
from ..devices import AUTO, DTYPES
from ..pipeline import GenerateRequest, GenerateResult, generate
from ..presets import preset_clip
from .options import add_plan_options, add_size_options, existing, number, plan_from, size_from, whole
from .progress import Progress

NAME = "generate"
USAGE = "--checkpoint PATH --text-encoder FOLDER --vae PATH --prompt TEXT [flags]"
HELP = "Make a video from a prompt."
EXAMPLES = """example:
  python -m lumina_core generate \\
    --checkpoint models/Lumina-Video-f24R960 --text-encoder models/gemma-2-2b --vae models/CogVideoX-2b/vae \\
    --prompt "A red kite over a grey sea, wind in the grass" --motion 8 --seed 7 --out kite.mp4

Progress goes to stderr. The last line on stdout starts with the file's path."""


def add_options(parser: argparse.ArgumentParser) -> None:
    models = parser.add_argument_group("models")
    models.add_argument(
        "--checkpoint", required=True, metavar="PATH", help="released folder, .safetensors or .pth file"
    )
    models.add_argument("--text-encoder", required=True, metavar="FOLDER", help="google/gemma-2-2b for transformers")
    models.add_argument("--vae", required=True, metavar="PATH", help="vae folder of CogVideoX-2b, or .safetensors file")
    texts = parser.add_argument_group(
        "text (up to 256 tokens each, the built-in system prompt included; the rest is cut)"
    )
    texts.add_argument("--prompt", required=True, metavar="TEXT", help="what to show; may be empty: ''")
    texts.add_argument("--negative-prompt", default="", metavar="TEXT", help="what to move away from (default: empty)")
    add_size_options(parser)
    add_plan_options(parser)
    run = parser.add_argument_group("run")
    run.add_argument("--fps", type=number, metavar="RATE", help="frames per second of the file (default: the preset's)")
    run.add_argument(
        "--seed", type=whole, default=0, metavar="N", help="another seed, another clip; from 0 (default 0)"
    )
    run.add_argument("--device", default=AUTO, metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps (default auto)")
    run.add_argument(
        "--dtype",
        default=AUTO,
        metavar="NAME",
        help=f"{', '.join(DTYPES)}, or auto: bf16 on CUDA, fp32 elsewhere (default auto)",
    )
    run.add_argument(
        "--vae-tile", type=whole, metavar="N", help="decode in tiles of N latent pixels (8 pixels each) to save memory"
    )
    run.add_argument(
        "--out",
        metavar="FILE",
        help="file to write, .mp4, or .png for 1 frame; replaced if there (default lumina-video.mp4 or .png)",
    )


def run(arguments: argparse.Namespace) -> None:
    with Progress() as progress:
        result = generate(request_from(arguments), progress)
    print(summary(result), flush=True)


def request_from(arguments: argparse.Namespace) -> GenerateRequest:
    """The flags as a request. Raises LuminaError."""
    size = size_from(arguments)
    checkpoint = existing("--checkpoint", arguments.checkpoint)
    fps = preset_clip(arguments.preset).fps if arguments.fps is None else arguments.fps
    return GenerateRequest(
        checkpoint=checkpoint,
        text_encoder=existing("--text-encoder", arguments.text_encoder),
        vae=existing("--vae", arguments.vae),
        out=Path(arguments.out or f"lumina-video.{'png' if size.frames == 1 else 'mp4'}"),
        prompt=arguments.prompt,
        negative_prompt=arguments.negative_prompt,
        size=size,
        fps=fps,
        plan=plan_from(arguments, size, read_video_config(checkpoint)),
        seed=arguments.seed,
        device=arguments.device,
        dtype=arguments.dtype,
        vae_tile=arguments.vae_tile,
    )


def summary(result: GenerateResult) -> str:
    """One line that starts with the path."""
    clip = "image" if result.frames == 1 else f"{result.frames} frames at {result.fps:g} fps"
    return (
        f"{result.file}  {result.width}x{result.height}, {clip}, {result.seconds:.1f} s, "
        f"NFE {result.nfe} ({result.passes} network passes)"
    )
