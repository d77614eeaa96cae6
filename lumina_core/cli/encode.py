"""``encode``: videos and images, or videos with their sound, become an encoded set to train on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..audio.codec_loader import load_audio_codec
from ..audio.features import load_feature_encoder
from ..errors import LuminaError
from ..media.motion_score import read_scores
from ..runtime.devices import AUTO, DTYPES, pick_device, pick_dtype
from ..train.audio.encode import AudioEncodeSettings, encode_audio
from ..train.clips import EncodeSettings
from ..train.encode import encode_source
from ..train.encoding import SKIPPED, EncodeObserver, EncodeResult
from ..train.sources import RawSource, read_source, with_scores
from ..vae.loader import load_video_vae
from .options import INTERRUPTED, existing, number, whole

NAME = "encode"
USAGE = "DATA (--vae PATH | --sound FOLDER --codec PATH) --out FOLDER [flags]"
HELP = "Encode videos and images, or videos with their sound, once, to train on them."
EXAMPLES = """examples:
  python -m lumina_core encode clips/ --vae models/CogVideoX-2b/vae --out encoded/clips
  python -m lumina_core encode list.jsonl --vae models/CogVideoX-2b/vae --out encoded/hd --size 960 --fps 24
  python -m lumina_core encode --sound models/sound/features --codec models/sound/codec clips/ --out encoded/sounds

In a folder the caption of clip.mp4 is clip.txt. A list has records such as {"path": "clip.mp4", "caption": "A kite"},
with "motion" or "unimatch_flow" where a motion score is known. Every picture keeps its shape, at the area of --size.
With --sound the clips' sounds are what is trained on; a file gives a clip each --seconds, silent ones are skipped.
Interrupted or killed, the same command continues. Files that cannot be used are skipped and listed.
Exit status: 0 all encoded, 1 some skipped, 2 none could be. The last line on stdout is the folder."""
SOME_FAILED = 1
_SECONDS_IN_A_LOG = 10.0
_PICTURES_ONLY = ("size", "fps", "scores", "dtype")


class EncodeProgress(EncodeObserver):
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
    defaults, sound = EncodeSettings(), AudioEncodeSettings()
    parser.add_argument(
        "data", metavar="DATA", help="folder with a .txt caption beside each file, or a .jsonl or .json"
    )
    parser.add_argument("--vae", metavar="PATH", help="for pictures: vae folder of CogVideoX-2b, or .safetensors file")
    parser.add_argument("--sound", metavar="FOLDER", help="for sounds: folder of the encoders, with clip/ and sync/")
    parser.add_argument(
        "--codec", metavar="PATH", help="for sounds: folder with vae/ and vocoder/, or AudioLDM's checkpoint"
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="made if need be; one of an earlier run goes on")
    parser.add_argument(
        "--size",
        type=whole,
        metavar="PIXELS",
        help=f"side of a square of the area; smaller pictures are skipped (default {defaults.size})",
    )
    parser.add_argument(
        "--fps",
        type=number,
        metavar="RATE",
        help=f"frames per second; clips below half of it are skipped (default {defaults.fps:g})",
    )
    parser.add_argument(
        "--seconds",
        type=number,
        metavar="S",
        help=f"use at most so much of a clip, from its beginning (default {defaults.seconds:g}); with --sound the "
        f"length of a clip (default {sound.seconds:g})",
    )
    parser.add_argument(
        "--scores", metavar="FILE", help="JSONL of motion scores by path; without any they are measured"
    )
    parser.add_argument("--device", default=AUTO, metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps (default auto)")
    parser.add_argument(
        "--dtype",
        metavar="NAME",
        help=f"{', '.join(DTYPES)}, or auto: bf16 on CUDA, fp32 elsewhere (default auto)",
    )


def run(arguments: argparse.Namespace) -> int:
    encode = _pictures(arguments) if _check_kind(arguments) else _audio(arguments)
    out = Path(arguments.out)
    try:
        with EncodeProgress() as progress:
            result = encode(out, progress)
    except KeyboardInterrupt:
        print(f"Interrupted; {out} keeps what was encoded, and the same command continues.", file=sys.stderr)
        return INTERRUPTED
    report(result, out)
    return SOME_FAILED if result.skipped else 0


def _check_kind(arguments: argparse.Namespace) -> bool:
    """Whether pictures are encoded. Raises LuminaError for flags that do not go together."""
    pictures = arguments.vae is not None
    parts = [name for name in ("sound", "codec") if getattr(arguments, name) is not None]
    if pictures == bool(parts) or len(parts) == 1:
        raise LuminaError("Give --vae to encode pictures, or both --sound and --codec to encode the sounds of videos.")
    idle = [name for name in _PICTURES_ONLY if not pictures and getattr(arguments, name) is not None]
    if idle:
        raise LuminaError(f"--{idle[0]} is for pictures, and --sound encodes sounds; leave one of them out.")
    return pictures


def _pictures(arguments: argparse.Namespace) -> Callable[[Path, EncodeObserver], EncodeResult]:
    settings = EncodeSettings(**_given(arguments, "size", "fps", "seconds"))
    device = pick_device(arguments.device)
    dtype = pick_dtype(arguments.dtype or AUTO, device)
    source = read_source(Path(arguments.data))
    if arguments.scores is not None:
        source = RawSource(with_scores(source.items, read_scores(arguments.scores)), source.faults)
    vae = load_video_vae(existing("--vae", arguments.vae), device, dtype)
    return lambda out, watcher: encode_source(source, vae, out, settings, watcher)


def _audio(arguments: argparse.Namespace) -> Callable[[Path, EncodeObserver], EncodeResult]:
    settings = AudioEncodeSettings(**_given(arguments, "seconds"))
    device = pick_device(arguments.device)
    source = read_source(Path(arguments.data))
    codec = load_audio_codec(existing("--codec", arguments.codec), device)
    encoder = load_feature_encoder(existing("--sound", arguments.sound), device)
    return lambda out, watcher: encode_audio(source, codec, encoder, out, settings, watcher)


def _given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


def report(result: EncodeResult, out: Path) -> None:
    """What was skipped on stderr, what there is on stdout."""
    for name, sentence in result.skipped.items():
        print(f"skipped {name}: {sentence}", file=sys.stderr)
    if result.skipped:
        print(f"{len(result.skipped)} skipped, listed in {out / SKIPPED}", file=sys.stderr)
    print(f"{result.items} items, {result.added} of them encoded now")
    print(out)
