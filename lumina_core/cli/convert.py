"""``convert``: makes one bf16 .safetensors file of a released Lumina-Video checkpoint."""

from __future__ import annotations

import argparse

from ..checkpoints.convert import convert_checkpoint, converted_size
from ..checkpoints.video import Checkpoint
from ..runtime.devices import DTYPES
from .bar import progress_bar

NAME = "convert"
USAGE = "FILE_OR_FOLDER [--out FILE_OR_FOLDER] [flags]"
HELP = "Convert a released checkpoint (.pth, fp32) to one .safetensors file of half the size."
EXAMPLES = """examples:
  lumina-video convert models/Lumina-Video-f24R960
  lumina-video convert consolidated.00-of-01.pth --out lumina_video_f24R960_bf16.safetensors

The settings of a model_args.pth beside the weights go into the header of the new file. No code of a .pth is run.
The source stays as it is. The last line on stdout is the path of the file."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "checkpoint", metavar="FILE_OR_FOLDER", help="folder in the released layout, .pth or .safetensors file"
    )
    parser.add_argument(
        "--out",
        metavar="FILE_OR_FOLDER",
        help="output .safetensors file, or an existing folder (default: beside the source, under a name such as "
        "lumina_video_f24R960_bf16.safetensors)",
    )
    parser.add_argument(
        "--dtype",
        default="bf16",
        choices=list(DTYPES),
        metavar="NAME",
        help=f"{', '.join(DTYPES)}: precision of the new file (default bf16)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the output file if it exists")


def run(arguments: argparse.Namespace) -> None:
    """Run the command. Raises LuminaError."""
    dtype = DTYPES[arguments.dtype]
    total = converted_size(Checkpoint.open(arguments.checkpoint), dtype)
    with progress_bar(total, unit="B", unit_scale=True) as bar:
        target = convert_checkpoint(
            arguments.checkpoint, arguments.out, dtype=dtype, overwrite=arguments.overwrite, callback=bar.update
        )
    print(f"{target.stat().st_size / 1e9:.2f} GB, {arguments.dtype}")
    print(target, flush=True)
