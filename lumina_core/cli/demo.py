"""``demo``: the bundle that comes along, from a prompt to a video with sound, a contact sheet, and what they cost."""

from __future__ import annotations

import argparse
import time
from importlib.util import find_spec
from pathlib import Path

import torch

from ..audio.files import mux
from ..audio.mel import SAMPLE_RATE
from ..checkpoints.video import read_video_config
from ..cost.flops import plan_cost
from ..errors import LuminaError
from ..media.contact_sheet import contact_sheet
from ..media.motion_score import motion_score
from ..media.writer import check_target, write_image
from ..network.config import VideoConfig
from ..pipelines.audio import AudioFiles
from ..pipelines.audio_file import AudioSettings, audio_for_frames, audio_metadata, audio_pipeline
from ..pipelines.bundle import Bundle, unlearned_motion
from ..pipelines.video import GenerateRequest, GenerateResult, generate
from ..sampling.plan import SamplingPlan
from ..sampling.presets import preset_clip
from ..shapes.latents import VideoSize
from ..text.gemma import check_text
from .models import Models, add_bundle_option, bundle_models
from .options import add_plan_options, add_size_options, plan_from, preset_name, size_from, whole
from .plan import as_text
from .progress import Progress

AUDIBLE_MOTION = "6"
"""Motion score where none is asked for: fast enough to meet the edge, so that there is something to hear."""
NAME = "demo"
USAGE = "[flags]"
HELP = "Make a video with sound with the small bundle that comes along, and show what it cost and how much moves."
EXAMPLES = """examples:
  python -m lumina_core demo
  python -m lumina_core demo --prompt "a red circle moves to the left on a navy background" --motion 3 --out red.mp4
  python -m lumina_core demo --patch 1x2 --seed 4

Writes the video, with a sound when the bundle has a voice, and, beside it, a contact sheet (.png). The last line on
stdout is the video's path."""


class Shown(Progress):
    """Keeps the frames that go by."""

    def __init__(self) -> None:
        super().__init__()
        self.chunks: list[torch.Tensor] = []

    def frames(self, frames: torch.Tensor) -> None:
        self.chunks.append(frames)


def add_options(parser: argparse.ArgumentParser) -> None:
    add_bundle_option(parser)
    parser.add_argument("--prompt", metavar="TEXT", help="what to show, in the bundle's words (default: its example)")
    parser.add_argument("--negative-prompt", default="", metavar="TEXT", help="what to move away from (default: empty)")
    parser.add_argument("--seed", type=whole, default=0, metavar="N", help="another seed, another clip (default 0)")
    parser.add_argument(
        "--scale", type=whole, default=4, metavar="N", help="pixels of the file per pixel of the clip (default 4)"
    )
    parser.add_argument(
        "--out", default="lumina-demo.mp4", metavar="FILE.mp4", help="replaced if there (default lumina-demo.mp4)"
    )
    parser.add_argument("--no-sound", action="store_true", help="leave the sound out")
    add_size_options(parser)
    add_plan_options(parser)


def run(arguments: argparse.Namespace) -> None:
    models = bundle_models(arguments)
    out = check_target(arguments.out, ".mp4")
    size = size_from(arguments)
    if size.frames == 1:
        raise LuminaError("demo makes a video: --frames is 1; write 8 or more, or use generate for an image.")
    if arguments.motion is None and models.bundle.sound is not None and not arguments.no_sound:
        arguments.motion = AUDIBLE_MOTION
    config = read_video_config(models.checkpoint)
    plan = plan_from(arguments, size, config)
    prompt = models.bundle.prompt if arguments.prompt is None else arguments.prompt
    check_text(prompt)
    voice = None if arguments.no_sound else _voice(models.bundle, prompt, arguments.seed)
    print(_before(models.bundle, prompt, plan, size, config), flush=True)
    with Shown() as shown:
        result = generate(_request(arguments, models, prompt, size, plan), shown)
    frames = torch.cat(shown.chunks)
    sheet = write_image(out.with_suffix(".png"), contact_sheet(frames, prompt))
    print(f"{result.frames} frames in {result.seconds:.1f} s{_motion(frames, result.fps)}")
    if voice:
        # Few frames may be decoded to one, and nothing moves in that.
        print(_add_audio(voice, frames, result) if len(frames) > 1 else "no sound: a single frame has none")
    print(f"contact sheet: {sheet}")
    print(result.file, flush=True)


def _voice(bundle: Bundle, prompt: str, seed: int) -> AudioSettings | None:
    """How the sound is made, checked; None for a bundle without a voice. Raises LuminaError."""
    if bundle.sound is None:
        return None
    settings = AudioSettings(files=AudioFiles.of(bundle.sound), prompt=prompt, seed=seed)
    audio_pipeline(settings)  # checks them
    return settings


def _add_audio(settings: AudioSettings, frames: torch.Tensor, result: GenerateResult) -> str:
    """Put the sound of the frames into the video; a line on it."""
    started = time.perf_counter()
    with Progress() as progress:
        sound = audio_for_frames(settings, frames, result.fps, progress)
    mux(result.file, sound.waveform, SAMPLE_RATE, result.file, audio_metadata(settings))
    seconds = time.perf_counter() - started
    return f"{sound.waveform.shape[-1] / SAMPLE_RATE:g} s of sound in {seconds:.1f} s, NFE {sound.nfe}"


def _before(bundle: Bundle, prompt: str, plan: SamplingPlan, size: VideoSize, config: VideoConfig) -> str:
    lines = [
        f"bundle           {bundle.name}: {bundle.about}",
        f"prompt           {prompt}",
        as_text(plan, size, plan_cost(plan, size.latent(), config)),
    ]
    if warning := unlearned_motion(bundle, plan):
        lines.append(f"note: {warning}")
    return "\n".join(lines)


def _request(
    arguments: argparse.Namespace, models: Models, prompt: str, size: VideoSize, plan: SamplingPlan
) -> GenerateRequest:
    return GenerateRequest(
        checkpoint=models.checkpoint,
        text_encoder=models.text_encoder,
        vae=models.vae,
        out=Path(arguments.out),
        prompt=prompt,
        negative_prompt=arguments.negative_prompt,
        size=size,
        fps=preset_clip(preset_name(arguments)).fps,
        plan=plan,
        seed=arguments.seed,
        scale=arguments.scale,
    )


def _motion(frames: torch.Tensor, fps: float) -> str:
    """The measured score in words; nothing for a clip that is too short for one.

    OpenCV is an extra of the package, which a first clip must not depend on.
    """
    if len(frames) <= fps / 2:
        return ""
    if find_spec("cv2") is None:
        return ", motion score not measured: it needs OpenCV (pip install opencv-python-headless)"
    return f", motion score {motion_score(frames, fps):.2f} as measured (optical flow, pixels per half second)"
