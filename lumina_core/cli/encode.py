"""``encode``: videos and images become an encoded set to train on."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..devices import AUTO, DTYPES, pick_device, pick_dtype
from ..motion import read_scores
from ..train.clips import EncodeSettings
from ..train.encode import SKIPPED, EncodeResult, EncodeWatcher, encode_source
from ..train.sources import RawSource, read_source, with_scores
from ..vae import load_video_vae
from .options import existing, number, whole

NAME = "encode"
USAGE = "DATA --vae PATH --out FOLDER [flags]"
HELP = "Encode videos and images once, to train on them."
EXAMPLES = """examples:
  python -m lumina_core encode clips/ --vae models/CogVideoX-2b/vae --out encoded/clips
  python -m lumina_core encode list.jsonl --vae models/CogVideoX-2b/vae --out encoded/hd --size 960 --fps 24

In a folder the caption of clip.mp4 is clip.txt. A list has records such as {"path": "clip.mp4", "caption": "A kite"},
with "motion" or "unimatch_flow" where a motion score is known. Every picture keeps its shape, at the area of --size.
Interrupted or killed, the same command continues. Files that cannot be used are skipped and listed.
Exit status: 0 all encoded, 1 some skipped, 2 none could be. The last line on stdout is the folder."""
SOME_FAILED, INTERRUPTED = 1, 130
_SECONDS_IN_A_LOG = 10.0


class EncodeProgress(EncodeWatcher):
    """Notes as lines, items as a bar on stderr."""

    def __init__(self) -> None:
        self._bar = None

    def note(self, text: str) -> None:
        print(f"note: {text}", file=sys.stderr, flush=True)

    def begin(self, items: int, done: int) -> None:
        from tqdm import tqdm

        # In a log file every update is one more line.
        interval = 0.1 if sys.stderr.isatty() else _SECONDS_IN_A_LOG
        self._bar = tqdm(
            total=items, initial=done, desc="encode", file=sys.stderr, mininterval=interval, dynamic_ncols=True
        )

    def item(self, name: str) -> None:
        self._bar.update()

    def __enter__(self) -> EncodeProgress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()


def add_options(parser: argparse.ArgumentParser) -> None:
    defaults = EncodeSettings()
    parser.add_argument(
        "data", metavar="DATA", help="folder with a .txt caption beside each file, or a .jsonl or .json"
    )
    parser.add_argument("--vae", required=True, metavar="PATH", help="vae folder of CogVideoX-2b, or .safetensors file")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="made if need be; one of an earlier run goes on")
    parser.add_argument(
        "--size",
        type=whole,
        default=defaults.size,
        metavar="PIXELS",
        help=f"side of a square of the area; smaller pictures are skipped (default {defaults.size})",
    )
    parser.add_argument(
        "--fps",
        type=number,
        default=defaults.fps,
        metavar="RATE",
        help=f"frames per second; clips below half of it are skipped (default {defaults.fps:g})",
    )
    parser.add_argument(
        "--seconds",
        type=number,
        default=defaults.seconds,
        metavar="S",
        help=f"use at most so much of a clip, from its beginning (default {defaults.seconds:g})",
    )
    parser.add_argument(
        "--scores", metavar="FILE", help="JSONL of motion scores by path; without any they are measured"
    )
    parser.add_argument("--device", default=AUTO, metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps (default auto)")
    parser.add_argument(
        "--dtype",
        default=AUTO,
        metavar="NAME",
        help=f"{', '.join(DTYPES)}, or auto: bf16 on CUDA, fp32 elsewhere (default auto)",
    )


def run(arguments: argparse.Namespace) -> int:
    settings = EncodeSettings(size=arguments.size, fps=arguments.fps, seconds=arguments.seconds)
    device = pick_device(arguments.device)
    dtype = pick_dtype(arguments.dtype, device)
    source = read_source(Path(arguments.data))
    if arguments.scores is not None:
        source = RawSource(with_scores(source.items, read_scores(arguments.scores)), source.faults)
    vae = load_video_vae(existing("--vae", arguments.vae), device, dtype)
    out = Path(arguments.out)
    try:
        with EncodeProgress() as progress:
            result = encode_source(source, vae, out, settings, progress)
    except KeyboardInterrupt:
        print(f"Interrupted; {out} keeps what was encoded, and the same command continues.", file=sys.stderr)
        return INTERRUPTED
    report(result, out)
    return SOME_FAILED if result.skipped else 0


def report(result: EncodeResult, out: Path) -> None:
    """What was skipped on stderr, what there is on stdout."""
    for name, sentence in result.skipped.items():
        print(f"skipped {name}: {sentence}", file=sys.stderr)
    if result.skipped:
        print(f"{len(result.skipped)} skipped, listed in {out / SKIPPED}", file=sys.stderr)
    print(f"{result.items} items, {result.added} of them encoded now")
    print(out)
