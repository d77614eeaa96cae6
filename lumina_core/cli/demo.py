"""``demo``: makes a video with audio and a contact sheet with the bundled model, and reports their cost."""

from __future__ import annotations

import argparse
import time
from importlib.util import find_spec
from pathlib import Path

import torch

from ..audio.files import mux
from ..cost.flops import plan_cost
from ..errors import LuminaError
from ..media.contact_sheet import contact_sheet
from ..media.motion_score import motion_score
from ..media.writer import check_target, write_image
from ..network.config import VideoConfig
from ..pipelines.audio_file import AudioSettings, audio_for_frames, audio_metadata, audio_pipeline
from ..pipelines.audio_inputs import AudioFiles
from ..pipelines.bundle import Bundle, unlearned_motion, unlearned_prompt
from ..pipelines.video import LuminaVideoPipeline
from ..pipelines.video_writer import check_scale, write_clip
from ..sampling.plan import SamplingPlan
from ..sampling.presets import preset_clip
from ..shapes.audio_rates import SAMPLE_RATE
from ..shapes.latents import VideoSize
from .generate_request import AudioModel
from .models import add_bundle_option, chosen_bundle
from .options import add_plan_options, add_size_options, plan_from, preset_name, size_from, whole
from .plan import as_text
from .progress import Progress

# Default motion score of a clip with audio: fast enough that the shape hits the edge, which makes the sound.
AUDIBLE_MOTION = "6"
NAME = "demo"
USAGE = "[flags]"
HELP = "Make a video with audio with the small bundled model, and show its cost and motion score."
EXAMPLES = """examples:
  lumina-video demo
  lumina-video demo --prompt "a red circle moves to the left on a navy background" --motion 3 --out red.mp4
  lumina-video demo --patch 1x2 --seed 4

Writes the video, with audio if the bundle has an audio model, and a contact sheet (.png) next to it. The last line on
stdout is the path of the video."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_bundle_option(parser)
    parser.add_argument(
        "--prompt", metavar="TEXT", help="what to show, in the words that the bundle knows (default: its example)"
    )
    parser.add_argument("--negative-prompt", default="", metavar="TEXT", help="what to avoid (default: empty)")
    parser.add_argument("--seed", type=whole, default=0, metavar="N", help="seed of the noise, from 0 (default 0)")
    parser.add_argument(
        "--scale",
        type=whole,
        default=4,
        metavar="N",
        help="side of a pixel of the clip in pixels of the file (default 4)",
    )
    parser.add_argument(
        "--out",
        default="lumina-demo.mp4",
        metavar="FILE.mp4",
        help="output file; an existing file is replaced (default lumina-demo.mp4)",
    )
    parser.add_argument("--no-audio", action="store_true", help="do not generate audio")
    add_size_options(parser)
    add_plan_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command. Raises LuminaError."""
    bundle = chosen_bundle(arguments)
    out = check_target(arguments.out, ".mp4")
    size = size_from(arguments)
    if size.frames == 1:
        raise LuminaError(
            "demo makes a video: --frames is 1; write 8 or more, or use generate for an image.",
            field="frames",
            kind="value",
        )
    if arguments.motion is None and bundle.audio is not None and not arguments.no_audio:
        arguments.motion = AUDIBLE_MOTION
    prompt = bundle.prompt if arguments.prompt is None else arguments.prompt
    check_scale(arguments.scale)
    pipe = LuminaVideoPipeline.from_bundle(bundle, preset=preset_name(arguments))
    plan, fps = plan_from(arguments, size, pipe.config), preset_clip(preset_name(arguments)).fps
    job = pipe.prepare(prompt, arguments.negative_prompt, plan=plan, size=size, fps=fps, seed=arguments.seed)
    audio = None if arguments.no_audio else _audio_model(bundle, prompt, arguments.seed)
    print(_header(bundle, prompt, plan, size, pipe.config), flush=True)
    started = time.perf_counter()
    with Progress() as progress, pipe.run(job, progress) as found:
        for text, what in ((prompt, "prompt"), (arguments.negative_prompt, "negative prompt")):
            if warning := unlearned_prompt(bundle, text, what):
                progress.note(warning)
        progress.stage("decoding")
        frames = pipe.decode(found.estimate, callback=progress)[0]
    write_clip(pipe, job, 0, [frames], out, arguments.scale)
    sheet = write_image(out.with_suffix(".png"), contact_sheet(frames, prompt))
    print(f"{len(frames)} frames in {time.perf_counter() - started:.1f} s{_motion(frames, fps)}")
    if audio:
        # A clip of few frames may decode to one frame, which has no motion.
        print(_add_audio(audio, frames, fps, out) if len(frames) > 1 else "no audio: the clip has a single frame")
    print(f"contact sheet: {sheet}")
    print(out, flush=True)


def _audio_model(bundle: Bundle, prompt: str, seed: int) -> AudioModel | None:
    """What makes the audio, after all checks; None for a bundle without an audio model. Raises LuminaError."""
    if bundle.audio is None:
        return None
    settings = AudioSettings(files=AudioFiles.of(bundle.audio), prompt=prompt, seed=seed)
    return AudioModel(settings, audio_pipeline(settings))


def _add_audio(model: AudioModel, frames: torch.Tensor, fps: float, video: Path) -> str:
    """Add the audio of the frames to the video, and return a line about it."""
    started = time.perf_counter()
    with Progress() as progress:
        audio = audio_for_frames(model.settings, frames, fps, progress, model.pipe)
    mux(video, audio.waveform, SAMPLE_RATE, video, audio_metadata(model.settings))
    seconds = time.perf_counter() - started
    return f"{audio.waveform.shape[-1] / SAMPLE_RATE:g} s of audio in {seconds:.1f} s, NFE {audio.nfe}"


def _header(bundle: Bundle, prompt: str, plan: SamplingPlan, size: VideoSize, config: VideoConfig) -> str:
    lines = [
        f"bundle           {bundle.name}: {bundle.about}",
        f"prompt           {prompt}",
        as_text(plan, size, plan_cost(plan, size.latent(), config)),
    ]
    if warning := unlearned_motion(bundle, plan):
        lines.append(f"note: {warning}")
    return "\n".join(lines)


def _motion(frames: torch.Tensor, fps: float) -> str:
    """The measured motion score as text; empty for a clip that is too short for one.

    OpenCV is an optional dependency, so the demo also runs without it.
    """
    if len(frames) <= fps / 2:
        return ""
    if find_spec("cv2") is None:
        return ", motion score not measured: it needs OpenCV (pip install opencv-python-headless)"
    return f", motion score {motion_score(frames, fps):.2f} as measured (optical flow, pixels per half second)"
