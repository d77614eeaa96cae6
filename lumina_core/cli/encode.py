"""``encode``: encodes videos and images, or the audio of videos, as a training set."""

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
from .bar import progress_bar
from .options import INTERRUPTED, SOME_FAILED, existing, number, whole

NAME = "encode"
USAGE = "DATA (--vae PATH | --audio FOLDER --codec PATH) --out FOLDER [flags]"
HELP = "Encode videos and images, or the audio of videos, as a training set."
EXAMPLES = """examples:
  lumina-video encode clips/ --vae models/CogVideoX-2b/vae --out encoded/clips
  lumina-video encode list.jsonl --vae models/CogVideoX-2b/vae --out encoded/hd --size 960 --fps 24
  lumina-video encode --audio models/sound/features --codec models/sound/codec clips/ --out encoded/audio

In a folder, clip.txt has the caption of clip.mp4. A list has records such as {"path": "clip.mp4", "caption": "A kite"},
with "motion" or "unimatch_flow" if a motion score is known. Images and frames keep their aspect ratio, at the area of
--size. --audio encodes the audio of videos: each file is cut into clips of --seconds, and silent clips are skipped.
If interrupted, run the same command again to resume. Files that cannot be used are skipped and listed.
Exit status: 0 all encoded, 1 some skipped, 2 none encoded. The last line on stdout is the folder."""
# Flags that are not for audio.
_VISUAL_ONLY = ("size", "fps", "scores", "dtype")


class EncodeProgress(EncodeObserver):
    """Shows notes as lines and encoded samples as a progress bar on stderr."""

    def __init__(self) -> None:
        self._bar: Any = None

    def note(self, text: str) -> None:
        """Print a note."""
        print(f"note: {text}", file=sys.stderr, flush=True)

    def begin(self, items: int, done: int) -> None:
        """Start the bar, of ``items`` samples of which ``done`` are encoded already."""
        self._bar = progress_bar(items, initial=done, desc="encode")

    def item(self, name: str) -> None:
        """Advance the bar by one sample."""
        self._bar.update()

    def __enter__(self) -> EncodeProgress:
        """Itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    defaults, audio = EncodeSettings(), AudioEncodeSettings()
    parser.add_argument(
        "data", metavar="DATA", help="folder with a .txt caption for each file, or a .jsonl or .json list"
    )
    parser.add_argument(
        "--vae", metavar="PATH", help="for videos and images: vae folder of CogVideoX-2b, or .safetensors file"
    )
    parser.add_argument(
        "--audio", metavar="FOLDER", help="for audio: folder of the feature encoders, with clip/ and sync/"
    )
    parser.add_argument(
        "--codec", metavar="PATH", help="for audio: folder with vae/ and vocoder/, or AudioLDM's checkpoint"
    )
    parser.add_argument(
        "--out", required=True, metavar="FOLDER", help="output folder; an interrupted run resumes in it"
    )
    parser.add_argument(
        "--size",
        type=whole,
        metavar="PIXELS",
        help=f"side of a square of the target area; smaller files are skipped (default {defaults.size})",
    )
    parser.add_argument(
        "--fps",
        type=number,
        metavar="RATE",
        help=f"frames per second; clips below half of that are skipped (default {defaults.fps:g})",
    )
    parser.add_argument(
        "--seconds",
        type=number,
        metavar="S",
        help=f"use at most this much of a clip, from its start (default {defaults.seconds:g}); with --audio, the "
        f"length of a clip (default {audio.seconds:g})",
    )
    parser.add_argument("--scores", metavar="FILE", help="JSONL of motion scores by path (default: measure them)")
    parser.add_argument("--device", default=AUTO, metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps (default auto)")
    parser.add_argument(
        "--dtype",
        metavar="NAME",
        help=f"{', '.join(DTYPES)}, or auto: bf16 on CUDA, fp32 elsewhere (default auto)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command, and return the exit status. Raises LuminaError."""
    encode = _encode_visual(arguments) if _is_visual(arguments) else _encode_audio(arguments)
    out = Path(arguments.out)
    try:
        with EncodeProgress() as progress:
            result = encode(out, progress)
    except KeyboardInterrupt:
        print(f"Interrupted; what was encoded is in {out}. Run the same command again to resume.", file=sys.stderr)
        return INTERRUPTED
    report(result, out)
    return SOME_FAILED if result.skipped else 0


def _is_visual(arguments: argparse.Namespace) -> bool:
    """Whether videos and images are encoded, not audio. Raises LuminaError for flags that contradict each other."""
    visual = arguments.vae is not None
    parts = [name for name in ("audio", "codec") if getattr(arguments, name) is not None]
    if visual == bool(parts) or len(parts) == 1:
        raise LuminaError(
            "Give --vae to encode videos and images, or both --audio and --codec to encode the audio of videos.",
            field="vae",
            kind="value",
        )
    unused = [name for name in _VISUAL_ONLY if not visual and getattr(arguments, name) is not None]
    if unused:
        raise LuminaError(
            f"--{unused[0]} is for videos and images, and --audio encodes audio; leave one of them out.",
            field=unused[0],
            kind="value",
        )
    return visual


def _encode_visual(arguments: argparse.Namespace) -> Callable[[Path, EncodeObserver], EncodeResult]:
    settings = EncodeSettings(**_given(arguments, "size", "fps", "seconds"))
    device = pick_device(arguments.device)
    dtype = pick_dtype(arguments.dtype or AUTO, device)
    source = read_source(Path(arguments.data))
    if arguments.scores is not None:
        source = RawSource(with_scores(source.items, read_scores(arguments.scores)), source.faults)
    vae = load_video_vae(existing("--vae", arguments.vae), device, dtype)
    return lambda out, observer: encode_source(source, vae, out, settings, observer)


def _encode_audio(arguments: argparse.Namespace) -> Callable[[Path, EncodeObserver], EncodeResult]:
    settings = AudioEncodeSettings(**_given(arguments, "seconds"))
    device = pick_device(arguments.device)
    source = read_source(Path(arguments.data))
    codec = load_audio_codec(existing("--codec", arguments.codec), device)
    encoder = load_feature_encoder(existing("--audio", arguments.audio), device)
    return lambda out, observer: encode_audio(source, codec, encoder, out, settings, observer)


def _given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


def report(result: EncodeResult, out: Path) -> None:
    """Print what was skipped on stderr, and the number of samples and the folder on stdout."""
    for name, sentence in result.skipped.items():
        print(f"skipped {name}: {sentence}", file=sys.stderr)
    if result.skipped:
        print(f"{len(result.skipped)} skipped, listed in {out / SKIPPED}", file=sys.stderr)
    print(f"{result.items} samples, {result.added} of them encoded now")
    print(out)
