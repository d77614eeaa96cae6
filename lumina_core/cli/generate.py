"""``generate``: makes videos and images from prompts, images or videos, and adds audio with ``--audio``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import torch

from ..checkpoints.lora import LoraChoice
from ..errors import LuminaError
from ..pipelines.audio_file import AudioRequest, make_audio
from ..pipelines.denoising import Denoised
from ..pipelines.latent_files import SavedLatents, save_latents
from ..pipelines.video_writer import WrittenClip, write_clip
from ..runtime.devices import AUTO, DTYPES
from ..shapes.latents import VideoSize
from .generate_request import DRAFT, AudioModel, Request, request_from
from .given_frames import add_given_frames_options
from .models import add_model_options
from .options import INTERRUPTED, add_plan_options, add_size_options, number, whole
from .progress import Progress

NAME = "generate"
USAGE = "[--checkpoint PATH --text-encoder FOLDER --vae PATH | --bundle NAME] --prompt TEXT [flags]"
HELP = "Make videos from prompts, images or videos: text-to-video, image-to-video, video-to-video, continuation."
EXAMPLES = """examples:
  lumina-video generate --prompt "a red circle moves to the left on a navy background"
  lumina-video generate --audio --prompt "a yellow star moves to the left on a navy background" --motion 4
  lumina-video generate --image first.png --prompt "a white circle moves to the right on a navy background"
  lumina-video generate --video clip.mp4 --strength 0.4 --prompt "a yellow star moves to the right"
  lumina-video generate --continue clip.mp4 --prompt "a white circle moves to the left on a navy background"
  lumina-video generate --prompts prompts.txt --num 4 --out clip.mp4
  lumina-video generate --prompt "a red circle" --num 4 --stop draft --save-latents drafts.safetensors
  lumina-video generate --prompt "a red circle" --latents drafts.safetensors --pick 2
  lumina-video generate \\
    --checkpoint models/Lumina-Video-f24R960 --text-encoder models/gemma-2-2b --vae models/CogVideoX-2b/vae \\
    --prompt "A red kite over a gray sea, wind in the grass" --motion 8 --seed 7 --out kite.mp4

Several clips are named NAME-1.mp4, NAME-2.mp4, ... in the order of the prompts, --num clips of each.
--audio uses the audio model of the bundle, a small one that knows drawn shapes only; for another, make the video first
and then run: lumina-video audio VIDEO. Progress goes to stderr. On stdout each clip has a line that describes it and a
line with its path; the last line is a path."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_model_options(parser)
    _add_lora_option(parser)
    _add_text_options(parser)
    add_given_frames_options(parser)
    _add_audio_options(parser)
    add_size_options(parser)
    add_plan_options(parser)
    _add_run_options(parser)
    _add_draft_options(parser)


def _add_lora_option(parser: argparse.ArgumentParser) -> None:
    """Add the flag of LoRA files."""
    parser.add_argument(
        "--lora",
        action="append",
        default=[],
        type=lora_choice,
        metavar="PATH[:STRENGTH]",
        help="LoRA .safetensors file for the checkpoint, with strength 1 by default; may be repeated",
    )


def _add_text_options(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the prompts."""
    texts = parser.add_argument_group(
        "text (up to 256 tokens each, including the built-in system prompt; the rest is cut)"
    )
    texts.add_argument("--prompt", metavar="TEXT", help="what to show; may be empty: ''")
    texts.add_argument(
        "--prompts", metavar="FILE", help="one prompt per line; blank lines and lines that start with # are skipped"
    )
    texts.add_argument("--negative-prompt", default="", metavar="TEXT", help="what to avoid (default: empty)")


def _add_audio_options(parser: argparse.ArgumentParser) -> None:
    """Add the flags of generated audio."""
    group = parser.add_argument_group("audio")
    group.add_argument("--audio", action="store_true", help="add generated audio to the video")
    group.add_argument("--audio-prompt", metavar="TEXT", help="audio prompt (default: --prompt)")


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the run: seeds, the device and the file."""
    run = parser.add_argument_group("run")
    run.add_argument(
        "--train-size",
        type=clip_size,
        metavar="WxHxN",
        help="size of the clips that the checkpoint was trained on, such as 1248x704x96, if its configuration does "
        "not say; see --rope",
    )
    run.add_argument(
        "--fps",
        type=number,
        metavar="RATE",
        help="frames per second of the file (default: that of --video or --continue, else the preset's)",
    )
    run.add_argument("--seed", type=whole, metavar="N", help="seed of the noise, from 0 (default 0)")
    run.add_argument(
        "--num", type=whole, default=1, metavar="N", help="clips of each prompt, with consecutive seeds (default 1)"
    )
    _add_device_options(run)
    run.add_argument(
        "--out",
        metavar="FILE",
        help="output file, .mp4, or .png for 1 frame; an existing file is replaced (default lumina-video.mp4 or .png)",
    )


def _add_device_options(run: argparse._ArgumentGroup) -> None:
    """Add the flags of where and how the networks run."""
    run.add_argument("--device", default=AUTO, metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps (default auto)")
    run.add_argument(
        "--dtype",
        default=AUTO,
        metavar="NAME",
        help=f"{', '.join(DTYPES)}, or auto: bf16 on CUDA, fp32 elsewhere (default auto)",
    )
    run.add_argument(
        "--compile",
        action="store_true",
        help="compile the blocks of the network with torch.compile: the first steps take minutes, later ones less",
    )
    run.add_argument(
        "--vae-tile", type=whole, metavar="N", help="decode in tiles of N latent pixels (8 pixels each) to save memory"
    )


def _add_draft_options(parser: argparse.ArgumentParser) -> None:
    """Add the flags that stop at a draft and refine it."""
    drafts = parser.add_argument_group("draft and refine")
    drafts.add_argument(
        "--stop",
        metavar="STEP",
        help=f"stop before this step, or at '{DRAFT}': where the patch schedule leaves its first patch size; the files "
        "then show the estimate so far",
    )
    drafts.add_argument("--save-latents", metavar="FILE.safetensors", help="save the latents, to refine them later")
    drafts.add_argument(
        "--latents",
        metavar="FILE",
        help="continue from latents that --save-latents saved, with the same prompt and plan",
    )
    drafts.add_argument("--pick", type=whole, metavar="K", help="with --latents: only clip K, from 1 (default: all)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command, and return the exit status. Raises LuminaError."""
    request = request_from(arguments)
    done = 0
    with Progress() as progress:
        for note in request.notes:
            progress.note(note)
        try:
            for clip, line in write_clips(request, progress):
                done += 1
                if request.audio and (status := _add_audio(request.audio, clip.file, progress)):
                    return status
                print(line + ", with audio" * bool(request.audio))
                print(clip.file, flush=True)
        except KeyboardInterrupt:
            if not done:
                raise
            print(f"Interrupted; {done} of {len(request.files)} clips are written.", file=sys.stderr)
            return INTERRUPTED
    return 0


def write_clips(request: Request, progress: Progress) -> Iterator[tuple[WrittenClip, str]]:
    """Sample all clips, then decode each into its file.

    Yields:
        Each written clip with a line that describes it.

    Raises:
        LuminaError: see ``LuminaVideoPipeline``.
    """
    pipe, job, given = request.pipe, request.job, request.given
    started = time.perf_counter()
    with pipe.run(job, progress) as found:
        if request.save_latents:
            save_latents(request.save_latents, SavedLatents(found.latents, job.stop, job.seeds))
            progress.note(f"the latents are in {request.save_latents}.")
        progress.stage("decoding and writing")
        for index, file in enumerate(request.files):
            frames = pipe.decode_stream(found.estimate[index : index + 1], callback=progress)
            if given.continued is not None and job.images is not None:
                frames = chain(given.before(job.size), _without_first(frames, len(job.images)))
            clip = write_clip(pipe, job, index, frames, file)
            yield clip, summary(clip, found, job.clips, time.perf_counter() - started)


def _add_audio(audio: AudioModel, video: Path, progress: Progress) -> int:
    """Add audio to the video, and return the exit status. If it fails, the video is kept. Raises LuminaError."""
    try:
        make_audio(AudioRequest(settings=audio.settings, video=video, out=video), progress, audio.pipe)
    except KeyboardInterrupt:
        print(f"Interrupted; {video} is written, without audio.", file=sys.stderr)
        return INTERRUPTED
    except LuminaError:
        print(f"note: {video} is written, without audio.", file=sys.stderr)
        raise
    return 0


def _without_first(parts: Iterator[torch.Tensor], skip: int) -> Iterator[torch.Tensor]:
    """Parts (f, H, W, 3) of a clip without its first ``skip`` frames."""
    for part in parts:
        kept, skip = part[skip:], max(0, skip - len(part))
        if len(kept):
            yield kept


def clip_size(text: str) -> VideoSize:
    """The type of a flag such as ``1248x704x96``: width, height and frames."""
    try:
        width, height, frames = map(int, text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a size; write width, height and frames, such as 1248x704x96"
        ) from None
    return VideoSize(width, height, frames)


def lora_choice(text: str) -> LoraChoice:
    """The type of a flag ``PATH[:STRENGTH]``. Only a number after the last colon is a strength, since Windows paths
    have a colon."""
    path, _, strength = text.rpartition(":")
    try:
        return LoraChoice(Path(path), float(strength)) if path else LoraChoice(Path(text))
    except ValueError:
        return LoraChoice(Path(text))


def summary(clip: WrittenClip, found: Denoised, clips: int, seconds: float) -> str:
    """A line such as ``64x32, 8 frames at 24 fps, seed 0, 1.2 s, NFE 3 (4 network passes)``; NFE is the mean per
    clip."""
    length = "image" if clip.frames == 1 else f"{clip.frames} frames at {clip.fps:g} fps"
    return (
        f"{clip.width}x{clip.height}, {length}, seed {clip.seed}, {seconds:.1f} s, "
        f"NFE {found.nfe / clips:g} ({found.passes / clips:g} network passes)"
    )
