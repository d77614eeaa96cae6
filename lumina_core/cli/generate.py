"""``generate``: a prompt becomes an mp4, with sound where it is asked for."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..audio.features import check_seconds
from ..checkpoints.lora import LoraChoice
from ..checkpoints.video import read_video_config
from ..errors import LuminaError
from ..pipelines.audio_file import AudioRequest, AudioSettings, audio_pipeline, make_audio
from ..pipelines.bundle import unlearned_motion
from ..pipelines.video import GenerateRequest, GenerateResult, generate
from ..runtime.devices import AUTO, DTYPES
from ..sampling.presets import preset_clip
from ..shapes.latents import VideoSize
from .models import Models, add_model_options, bundled_voice, models_from
from .options import add_plan_options, add_size_options, number, plan_from, preset_name, size_from, whole
from .progress import Progress

NAME = "generate"
USAGE = "[--checkpoint PATH --text-encoder FOLDER --vae PATH | --bundle NAME] --prompt TEXT [flags]"
HELP = "Make a video from a prompt."
EXAMPLES = """examples:
  python -m lumina_core generate --prompt "a red circle moves to the left on a navy background"
  python -m lumina_core generate --sound --prompt "a yellow star moves to the left on a navy background" --motion 4
  python -m lumina_core generate \\
    --checkpoint models/Lumina-Video-f24R960 --text-encoder models/gemma-2-2b --vae models/CogVideoX-2b/vae \\
    --prompt "A red kite over a grey sea, wind in the grass" --motion 8 --seed 7 --out kite.mp4

With --sound the voice is the bundle's, a small one that knows drawn shapes only; for another voice make the video first
and then run: python -m lumina_core sound VIDEO. Progress goes to stderr. The last line on stdout starts with the file's
path."""
INTERRUPTED = 130


def add_options(parser: argparse.ArgumentParser) -> None:
    add_model_options(parser)
    parser.add_argument(
        "--lora",
        action="append",
        default=[],
        type=lora_choice,
        metavar="PATH[:STRENGTH]",
        help="LoRA .safetensors file for the checkpoint, strength 1 unless given; may be repeated",
    )
    texts = parser.add_argument_group(
        "text (up to 256 tokens each, the built-in system prompt included; the rest is cut)"
    )
    texts.add_argument("--prompt", required=True, metavar="TEXT", help="what to show; may be empty: ''")
    texts.add_argument("--negative-prompt", default="", metavar="TEXT", help="what to move away from (default: empty)")
    sound = parser.add_argument_group("sound")
    sound.add_argument("--sound", action="store_true", help="make a sound for the video, too")
    sound.add_argument("--sound-prompt", metavar="TEXT", help="what is heard (default: --prompt)")
    add_size_options(parser)
    add_plan_options(parser)
    run = parser.add_argument_group("run")
    run.add_argument(
        "--train-size",
        type=clip_size,
        metavar="WxHxN",
        help="clip that the checkpoint was trained on, such as 1248x704x96, where it does not say; see --rope",
    )
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
        "--compile",
        action="store_true",
        help="compile the network's blocks by torch.compile: the first steps take minutes, all others less",
    )
    run.add_argument(
        "--vae-tile", type=whole, metavar="N", help="decode in tiles of N latent pixels (8 pixels each) to save memory"
    )
    run.add_argument(
        "--out",
        metavar="FILE",
        help="file to write, .mp4, or .png for 1 frame; replaced if there (default lumina-video.mp4 or .png)",
    )


def run(arguments: argparse.Namespace) -> int:
    models = models_from(arguments)
    request = request_from(arguments, models)
    voice, voice_note = audio_from(arguments, models, request)
    with Progress() as progress:
        for note in (models.note, None if models.note else voice_note):
            if note:
                progress.note(note)
        if models.bundle and (warning := unlearned_motion(models.bundle, request.plan)):
            progress.note(warning)
        result = generate(request, progress)
    if voice and (status := _add_audio(voice, result.file)):
        return status
    print(summary(result) + ", with sound" * bool(voice), flush=True)
    return 0


def audio_from(
    arguments: argparse.Namespace, models: Models, request: GenerateRequest
) -> tuple[AudioSettings | None, str | None]:
    """How the sound of ``--sound`` is made, checked as far as it can be without the video, and a sentence for the user.

    Raises LuminaError.
    """
    if not arguments.sound:
        if arguments.sound_prompt is not None:
            raise LuminaError("--sound-prompt says what is heard, and no sound is asked for; add --sound.")
        return None, None
    if request.size.frames == 1:
        raise LuminaError("--sound is for videos, and --frames is 1; write 8 or more.")
    files, note = bundled_voice(models.bundle and str(models.bundle.folder))
    settings = AudioSettings(
        files=files,
        prompt=arguments.prompt if arguments.sound_prompt is None else arguments.sound_prompt,
        seed=arguments.seed,
        device=arguments.device,
        dtype=arguments.dtype,
    )
    audio_pipeline(settings)  # checks them
    check_seconds(request.size.frames / request.fps)
    return settings, note


def _add_audio(settings: AudioSettings, video: Path) -> int:
    """Put a sound into the video, which stays when that fails; the exit status. Raises LuminaError."""
    try:
        with Progress() as progress:
            make_audio(AudioRequest(settings=settings, video=video, out=video), progress)
    except KeyboardInterrupt:
        print(f"Interrupted; {video} is there, without sound.", file=sys.stderr)
        return INTERRUPTED
    except LuminaError:
        print(f"note: {video} is there, without sound.", file=sys.stderr)
        raise
    return 0


def request_from(arguments: argparse.Namespace, models: Models) -> GenerateRequest:
    """The flags as a request. Raises LuminaError."""
    size = size_from(arguments)
    fps = preset_clip(preset_name(arguments)).fps if arguments.fps is None else arguments.fps
    return GenerateRequest(
        checkpoint=models.checkpoint,
        text_encoder=models.text_encoder,
        vae=models.vae,
        out=Path(arguments.out or f"lumina-video.{'png' if size.frames == 1 else 'mp4'}"),
        prompt=arguments.prompt,
        negative_prompt=arguments.negative_prompt,
        size=size,
        fps=fps,
        plan=plan_from(arguments, size, read_video_config(models.checkpoint)),
        seed=arguments.seed,
        device=arguments.device,
        dtype=arguments.dtype,
        vae_tile=arguments.vae_tile,
        loras=tuple(arguments.lora),
        compiled=arguments.compile,
        train_size=arguments.train_size,
    )


def clip_size(text: str) -> VideoSize:
    """Type of a flag."""
    try:
        width, height, frames = map(int, text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"'{text}' is no size; write width, height and frames, such as 1248x704x96"
        ) from None
    return VideoSize(width, height, frames)


def lora_choice(text: str) -> LoraChoice:
    """Type of a flag. Only a number behind the last colon is a strength: a path of Windows has a colon of its own."""
    path, _, strength = text.rpartition(":")
    try:
        return LoraChoice(Path(path), float(strength)) if path else LoraChoice(Path(text))
    except ValueError:
        return LoraChoice(Path(text))


def summary(result: GenerateResult) -> str:
    """One line that starts with the path."""
    clip = "image" if result.frames == 1 else f"{result.frames} frames at {result.fps:g} fps"
    return (
        f"{result.file}  {result.width}x{result.height}, {clip}, {result.seconds:.1f} s, "
        f"NFE {result.nfe} ({result.passes} network passes)"
    )
