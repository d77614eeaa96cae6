"""``audio``: Video to Audio, from a video file to the same video with generated audio."""

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
from .models import add_bundle_option, bundled_audio
from .options import existing, number, whole
from .progress import Progress

NAME = "audio"
USAGE = "VIDEO [--prompt TEXT] [--out FILE] [flags]"
HELP = "Generate audio for a video, synchronized with what it shows."
EXAMPLES = """examples:
  lumina-video audio clip.mp4 --out clip-with-audio.mp4
  lumina-video audio clip.mp4 --prompt "The sound of a bell." --negative-prompt "The sound of wood." --seed 3
  lumina-video audio clip.mp4 --model models/v2a.safetensors --features models/v2a --codec models/audioldm

The video stream is copied, not encoded again, and existing audio is replaced. The audio is mono, 16 kHz, and as long as
the video. The weights of the paper's audio model were not released: the bundled audio model is a small one that knows
drawn shapes only, and docs/training.md says how to train another one.
Progress goes to stderr. The last line on stdout is the path of the file."""
_DEFAULTS = AudioPlan()
# Flags that name the parts of an audio model.
_PARTS = ("--model", "--features", "--codec")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("video", metavar="VIDEO", help="video file of any size and frame rate, with 2 frames or more")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="output file, .mp4, or .wav for the audio alone; an existing file is replaced (default: the name of VIDEO "
        "with -audio)",
    )
    add_prompt_options(parser)
    group = parser.add_argument_group(f"audio model (default: that of the bundled model {DEFAULT_BUNDLE})")
    add_bundle_option(group)
    group.add_argument(
        "--model", metavar="PATH", help="audio network: a .safetensors file, or a folder with model.safetensors"
    )
    group.add_argument("--features", metavar="FOLDER", help="folder with clip/ (a CLIP) and sync/ (a Synchformer)")
    group.add_argument("--codec", metavar="PATH", help="AudioLDM: a folder with vae/ and vocoder/, or its single file")
    add_sampling_options(parser)
    run = parser.add_argument_group("run")
    run.add_argument("--seed", type=whole, default=0, metavar="N", help="seed of the noise, from 0 (default 0)")
    run.add_argument("--device", default=AUTO, metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps (default auto)")
    run.add_argument(
        "--dtype",
        default=AUTO,
        metavar="NAME",
        help=f"of the network: {', '.join(DTYPES)}, or auto: bf16 on CUDA, fp32 elsewhere (default auto)",
    )
    run.add_argument(
        "--loudness", type=number, metavar="LUFS", help="target loudness, such as -20 (default: as generated)"
    )
    run.add_argument(
        "--save-features", metavar="FILE.safetensors", help="save the features of the video, to reuse them"
    )
    run.add_argument(
        "--features-file", metavar="FILE", help="use features that --save-features saved of the same video"
    )


def add_prompt_options(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the prompts."""
    group = parser.add_argument_group("text")
    group.add_argument(
        "--prompt", default="", metavar="TEXT", help="the sound to generate (default: conditioned on the video only)"
    )
    group.add_argument("--negative-prompt", default="", metavar="TEXT", help="the sound to avoid (default: empty)")


def add_sampling_options(parser: argparse.ArgumentParser) -> None:
    """Add the flags of an ``AudioPlan``."""
    group = parser.add_argument_group("sampling")
    group.add_argument(
        "--steps",
        type=whole,
        default=_DEFAULTS.steps,
        metavar="N",
        help=f"sampling steps, from 1 (default {_DEFAULTS.steps})",
    )
    group.add_argument(
        "--video-guidance",
        type=number,
        default=_DEFAULTS.video_guidance,
        metavar="G",
        help=f"guidance scale of the video; 0 is off and saves a forward pass (default {_DEFAULTS.video_guidance:g})",
    )
    group.add_argument(
        "--text-guidance",
        type=number,
        default=_DEFAULTS.text_guidance,
        metavar="G",
        help=f"guidance scale of the prompt; 0 is off and saves a forward pass (default {_DEFAULTS.text_guidance:g})",
    )
    group.add_argument(
        "--solver",
        default=_DEFAULTS.solver,
        metavar="NAME",
        help=f"{', '.join(SOLVERS)}; several evaluate more than once per step (default {_DEFAULTS.solver})",
    )
    group.add_argument(
        "--time-shift",
        type=number,
        default=_DEFAULTS.time_shift,
        metavar="S",
        help="above 0; higher values spend more steps near the noise, 1 is off (default 1)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the command. Raises LuminaError."""
    files, note = audio_files_from(arguments)
    request = request_from(arguments, files)
    # Checked before any progress is shown.
    pipe = prepare_request(request)
    with Progress() as progress:
        if note:
            progress.note(note)
        result = make_audio(request, progress, pipe)
    print(summary(result))
    print(result.file, flush=True)


def audio_files_from(arguments: argparse.Namespace) -> tuple[AudioFiles, str | None]:
    """The files that the flags name, and a note for the user if they name none. Raises LuminaError."""
    given = {flag: getattr(arguments, flag[2:]) for flag in _PARTS}
    missing = [flag for flag, path in given.items() if path is None]
    if len(missing) == len(_PARTS):
        return bundled_audio(arguments.bundle)
    if arguments.bundle is not None:
        clash = next(flag for flag in _PARTS if flag not in missing)
        raise LuminaError(
            f"--bundle has a whole audio model and {clash} names a part of one; use only one of them.",
            field="bundle",
            kind="value",
        )
    if missing:
        raise LuminaError(
            f"These flags are required: {', '.join(missing)}, because the parts of an audio model must fit together; "
            f"give {', '.join(_PARTS)}, or none for the bundled audio model.",
            field=missing[0][2:],
            kind="value",
        )
    return AudioFiles(*(existing(flag, path) for flag, path in given.items())), None


def request_from(arguments: argparse.Namespace, files: AudioFiles) -> AudioRequest:
    """The flags as a request, not yet checked against the files. Raises LuminaError."""
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
        out=Path(arguments.out or f"{video.stem}-audio.mp4"),
        features_file=None if arguments.features_file is None else existing("--features-file", arguments.features_file),
        save_features=None if arguments.save_features is None else Path(arguments.save_features),
    )


def summary(result: AudioResult) -> str:
    """A line such as ``4 s of audio, mono, 16000 Hz, made in 2.1 s, NFE 25 (75 network passes)``."""
    return (
        f"{result.length:.5g} s of audio, mono, {result.rate} Hz, made in {result.seconds:.1f} s, "
        f"NFE {result.nfe} ({result.passes} network passes)"
    )
