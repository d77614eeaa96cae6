"""``sound``: a silent video gets a sound."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import LuminaError
from ..pipelines.audio_file import AudioRequest, AudioResult, AudioSettings, make_audio, prepare_request
from ..pipelines.audio_inputs import AudioFiles
from ..pipelines.bundle import DEFAULT_BUNDLE
from ..runtime.devices import AUTO, DTYPES
from ..sampling.audio import AudioPlan
from ..sampling.solvers import SOLVERS
from .models import add_bundle_option, bundled_voice
from .options import existing, number, whole
from .progress import Progress

NAME = "sound"
USAGE = "VIDEO [--prompt TEXT] [--out FILE] [flags]"
HELP = "Make a sound for a video, in time with what is seen."
EXAMPLES = """examples:
  python -m lumina_core sound clip.mp4 --out clip-with-sound.mp4
  python -m lumina_core sound clip.mp4 --prompt "The sound of a bell." --negative-prompt "The sound of wood." --seed 3
  python -m lumina_core sound clip.mp4 --model models/voice.safetensors --features models/v2a --codec models/audioldm

The pictures are copied as they are, not encoded again; a sound that the video has is replaced. The sound is mono,
16 kHz, and as long as the video. No weights of the paper's sound model were ever released: the voice that comes along
is a small one that knows drawn shapes only, and docs/training.md tells how to train another.
Progress goes to stderr. The last line on stdout is the file's path."""
_DEFAULTS = AudioPlan()
_PARTS = ("--model", "--features", "--codec")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("video", metavar="VIDEO", help="video file, of any size and frame rate, 2 frames or more")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="file to write, .mp4, or .wav for the sound alone; replaced if there (default: VIDEO's name with -sound)",
    )
    add_prompt_options(parser)
    group = parser.add_argument_group(f"voice (default: that of the bundle {DEFAULT_BUNDLE}, which comes along)")
    add_bundle_option(group)
    group.add_argument("--model", metavar="PATH", help="sound network, a .safetensors file or a folder with it")
    group.add_argument("--features", metavar="FOLDER", help="folder with clip/ (a CLIP) and sync/ (a Synchformer)")
    group.add_argument("--codec", metavar="PATH", help="folder of AudioLDM with vae/ and vocoder/, or its single file")
    add_sampling_options(parser)
    run = parser.add_argument_group("run")
    run.add_argument("--seed", type=whole, default=0, metavar="N", help="another seed, another sound (default 0)")
    run.add_argument("--device", default=AUTO, metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps (default auto)")
    run.add_argument(
        "--dtype",
        default=AUTO,
        metavar="NAME",
        help=f"of the network: {', '.join(DTYPES)}, or auto: bf16 on CUDA, fp32 elsewhere (default auto)",
    )
    run.add_argument(
        "--loudness", type=number, metavar="LUFS", help="bring the sound to it, such as -20 (default: as it was made)"
    )
    run.add_argument("--save-features", metavar="FILE.safetensors", help="keep what was seen in the video, to reuse it")
    run.add_argument("--features-file", metavar="FILE", help="what --save-features kept of the same video")


def add_prompt_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("text")
    group.add_argument("--prompt", default="", metavar="TEXT", help="what is heard (default: the video decides)")
    group.add_argument("--negative-prompt", default="", metavar="TEXT", help="what is not to be heard (default: empty)")


def add_sampling_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sampling")
    group.add_argument(
        "--steps", type=whole, default=_DEFAULTS.steps, metavar="N", help=f"from 1 (default {_DEFAULTS.steps})"
    )
    group.add_argument(
        "--video-guidance",
        type=number,
        default=_DEFAULTS.video_guidance,
        metavar="G",
        help=f"how hard to follow the video; 0 is off and saves a pass (default {_DEFAULTS.video_guidance:g})",
    )
    group.add_argument(
        "--text-guidance",
        type=number,
        default=_DEFAULTS.text_guidance,
        metavar="G",
        help=f"how hard to follow the prompt; 0 is off and saves a pass (default {_DEFAULTS.text_guidance:g})",
    )
    group.add_argument(
        "--solver",
        default=_DEFAULTS.solver,
        metavar="NAME",
        help=f"{', '.join(SOLVERS)}; all but euler run more passes per step (default {_DEFAULTS.solver})",
    )
    group.add_argument(
        "--time-shift",
        type=number,
        default=_DEFAULTS.time_shift,
        metavar="S",
        help="above 0; larger spends more steps near the noise, 1 is none (default 1)",
    )


def run(arguments: argparse.Namespace) -> None:
    files, note = voice_from(arguments)
    request = request_from(arguments, files)
    prepare_request(request)  # what is wrong is told alone
    with Progress() as progress:
        if note:
            progress.note(note)
        result = make_audio(request, progress)
    print(summary(result))
    print(result.file, flush=True)


def voice_from(arguments: argparse.Namespace) -> tuple[AudioFiles, str | None]:
    """The files of the flags, and a sentence where the choice was not the user's. Raises LuminaError."""
    given = {flag: getattr(arguments, flag[2:]) for flag in _PARTS}
    missing = [flag for flag, path in given.items() if path is None]
    if len(missing) == len(_PARTS):
        return bundled_voice(arguments.bundle)
    if arguments.bundle is not None:
        clash = next(flag for flag in _PARTS if flag not in missing)
        raise LuminaError(f"--bundle brings the whole voice and {clash} names a part; use only one of them.")
    if missing:
        raise LuminaError(
            f"These flags are required: {', '.join(missing)}, as the parts of a voice go together; give "
            f"{', '.join(_PARTS)}, or none for the bundled voice."
        )
    return AudioFiles(*(existing(flag, path) for flag, path in given.items())), None


def request_from(arguments: argparse.Namespace, files: AudioFiles) -> AudioRequest:
    """The flags as a request. Raises LuminaError."""
    video = Path(arguments.video)
    settings = AudioSettings(
        files=files,
        prompt=arguments.prompt,
        negative_prompt=arguments.negative_prompt,
        plan=AudioPlan(
            arguments.steps,
            arguments.video_guidance,
            arguments.text_guidance,
            arguments.solver,
            arguments.time_shift,
        ),
        seed=arguments.seed,
        device=arguments.device,
        dtype=arguments.dtype,
        loudness=arguments.loudness,
    )
    return AudioRequest(
        settings=settings,
        video=video,
        out=Path(arguments.out or f"{video.stem}-sound.mp4"),
        features_file=None if arguments.features_file is None else existing("--features-file", arguments.features_file),
        save_features=None if arguments.save_features is None else Path(arguments.save_features),
    )


def summary(result: AudioResult) -> str:
    """Such as ``4 s of sound, mono, 16000 Hz, 2.1 s, NFE 25 (75 network passes)``."""
    return (
        f"{result.length:.5g} s of sound, mono, {result.rate} Hz, made in {result.seconds:.1f} s, "
        f"NFE {result.nfe} ({result.passes} network passes)"
    )
