"""The flags of ``generate`` as a checked request."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from ..audio.features import check_seconds
from ..errors import LuminaError
from ..media.writer import check_target
from ..pipelines.audio import LuminaAudioPipeline
from ..pipelines.audio_file import AudioSettings, audio_pipeline
from ..pipelines.bundle import unlearned_motion, unlearned_prompt
from ..pipelines.latent_files import SUFFIX, SavedLatents, load_latents
from ..pipelines.video import LuminaVideoPipeline
from ..pipelines.video_job import VideoJob
from ..pipelines.video_writer import clip_targets
from ..sampling.draft import draft_steps
from ..sampling.plan import SamplingPlan
from ..sampling.presets import preset_clip
from ..shapes.latents import VideoSize
from .given_frames import GivenFrames, given_frames
from .models import Models, bundled_audio, models_from
from .options import existing, plan_from, preset_name, size_from
from .prompt_files import read_prompts

# Value of ``--stop`` that means the end of the first patch size.
DRAFT = "draft"


@dataclass(frozen=True)
class AudioModel:
    """What makes the audio of all clips.

    Args:
        settings: prompt, seed and files.
        pipe: made of the settings; for several clips it keeps its networks.
    """

    settings: AudioSettings
    pipe: LuminaAudioPipeline


@dataclass(frozen=True)
class Request:
    """The checked request of a run of ``generate``.

    Args:
        pipe: makes the clips.
        job: the call of ``pipe``.
        given: frames that the flags give.
        files: output files, one for each clip.
        save_latents: output file of the latents; None for none.
        audio: makes the audio; None for none.
        notes: sentences for the user.
    """

    pipe: LuminaVideoPipeline
    job: VideoJob
    given: GivenFrames
    files: tuple[Path, ...]
    save_latents: Path | None
    audio: AudioModel | None
    notes: tuple[str, ...]


def request_from(arguments: argparse.Namespace) -> Request:
    """The flags as a request, after all checks that need no weights. Raises LuminaError."""
    models = models_from(arguments)
    prompts = prompts_from(arguments)
    size = size_from(arguments)
    given = given_frames(arguments, size.frames)
    if given.video is not None:
        size = VideoSize(size.width, size.height, len(given.video))
    pipe = LuminaVideoPipeline.from_files(
        checkpoint=models.checkpoint,
        text_encoder=models.text_encoder,
        vae=models.vae,
        loras=arguments.lora,
        preset=preset_name(arguments),
        device=arguments.device,
        dtype=arguments.dtype,
        compiled=arguments.compile,
        train_size=arguments.train_size,
        vae_tile=arguments.vae_tile,
    )
    plan = plan_from(arguments, size, pipe.config)
    saved = latents_from(arguments, prompts)
    job = pipe.prepare(
        prompts,
        arguments.negative_prompt,
        plan=plan,
        size=size,
        fps=fps_from(arguments, given),
        seed=(arguments.seed or 0) if saved is None else saved.seeds,
        latents=None if saved is None else saved.latents,
        start=0 if saved is None else saved.step,
        stop=stop_from(arguments, plan),
        image=given.image,
        video=given.video,
        strength=given.strength,
        hold=given.hold,
        videos_per_prompt=arguments.num if saved is None else 1,
    )
    files = clip_targets(Path(arguments.out or f"lumina-video.{'png' if size.frames == 1 else 'mp4'}"), job)
    audio, audio_note = audio_from(arguments, models, job)
    notes: list[str | None] = [models.note or audio_note]
    if models.bundle is not None:
        notes.append(unlearned_motion(models.bundle, job.plan))
        notes += [unlearned_prompt(models.bundle, prompt) for prompt in dict.fromkeys(prompts)]
        notes.append(unlearned_prompt(models.bundle, arguments.negative_prompt, "negative prompt"))
    target = None if arguments.save_latents is None else check_target(arguments.save_latents, SUFFIX)
    return Request(pipe, job, given, files, target, audio, tuple(note for note in notes if note))


def prompts_from(arguments: argparse.Namespace) -> list[str]:
    """The prompts of ``--prompt`` or ``--prompts``. Raises LuminaError."""
    if arguments.prompt is not None and arguments.prompts is not None:
        raise LuminaError(
            "--prompt and --prompts both say what to show; give only one of them.", field="prompts", kind="value"
        )
    if arguments.prompts is not None:
        return read_prompts(existing("--prompts", arguments.prompts))
    if arguments.prompt is None:
        raise LuminaError(
            "This flag is required: --prompt TEXT, or --prompts FILE; see lumina-video generate --help.",
            field="prompt",
            kind="value",
        )
    return [arguments.prompt]


def latents_from(arguments: argparse.Namespace, prompts: list[str]) -> SavedLatents | None:
    """The clips of ``--latents``, or the one of them that ``--pick`` names. Raises LuminaError."""
    if arguments.latents is None:
        if arguments.pick is not None:
            raise LuminaError(
                "--pick selects a clip of --latents, which is not given; add it.", field="pick", kind="value"
            )
        return None
    for flag, value, unset in (("--seed", arguments.seed, None), ("--num", arguments.num, 1)):
        if value != unset:
            raise LuminaError(
                f"--latents already has the noise of its clips, which {flag} would set; give only one of them.",
                field=flag[2:],
                kind="value",
            )
    saved = load_latents(existing("--latents", arguments.latents))
    if arguments.pick is not None:
        if not 1 <= arguments.pick <= len(saved.seeds):
            raise LuminaError(
                f"--pick is {arguments.pick}, and {arguments.latents} has {len(saved.seeds)} clips; write a number "
                f"from 1 to {len(saved.seeds)}.",
                field="pick",
                kind="value",
            )
        index = arguments.pick - 1
        saved = SavedLatents(saved.latents[index : index + 1], saved.step, saved.seeds[index : index + 1])
    if len(prompts) > 1 and len(prompts) != len(saved.seeds):
        raise LuminaError(
            f"{arguments.latents} has {len(saved.seeds)} clips, and there are {len(prompts)} prompts; give one "
            "prompt, or one for each clip.",
            field="prompts",
            kind="value",
        )
    return saved


def stop_from(arguments: argparse.Namespace, plan: SamplingPlan) -> int | None:
    """The step of ``--stop``. Raises LuminaError."""
    if arguments.stop is None:
        return None
    if arguments.save_latents is None:
        raise LuminaError(
            "--stop makes a draft, and only --save-latents saves its latents; add it.",
            field="save_latents",
            kind="value",
        )
    if arguments.stop == DRAFT:
        return draft_steps(plan.patch, plan.grid().tolist())
    try:
        return int(arguments.stop)
    except ValueError:
        raise LuminaError(
            f"--stop is '{arguments.stop}'; write a step, or {DRAFT}.", field="stop", kind="value"
        ) from None


def fps_from(arguments: argparse.Namespace, given: GivenFrames) -> float:
    """Frames per second of the files: those of ``--fps``, of the given video, or of the preset. Raises LuminaError."""
    if arguments.fps is not None:
        return arguments.fps
    return given.fps or preset_clip(preset_name(arguments)).fps


def audio_from(arguments: argparse.Namespace, models: Models, job: VideoJob) -> tuple[AudioModel | None, str | None]:
    """What makes the audio of ``--audio``, after all checks that need no video, and a note for the user.

    Raises:
        LuminaError: flags contradict each other, or the bundle has no audio model.
    """
    if not arguments.audio:
        if arguments.audio_prompt is not None:
            raise LuminaError(
                "--audio-prompt needs --audio, which is not given; add it.", field="audio_prompt", kind="value"
            )
        return None, None
    if job.size.frames == 1:
        raise LuminaError("--audio is for videos, and --frames is 1; write 8 or more.", field="frames", kind="value")
    if len(set(job.prompts)) > 1 and arguments.audio_prompt is None:
        raise LuminaError(
            "--audio takes one prompt for all clips, and --prompts gives several; add --audio-prompt.",
            field="audio_prompt",
            kind="value",
        )
    files, note = bundled_audio(models.bundle and str(models.bundle.folder))
    settings = AudioSettings(
        files=files,
        prompt=job.prompts[0] if arguments.audio_prompt is None else arguments.audio_prompt,
        seed=job.seeds[0],
        device=arguments.device,
        dtype=arguments.dtype,
    )
    check_seconds(job.size.frames / job.fps)
    return AudioModel(settings, audio_pipeline(settings, keep="all" if job.clips > 1 else "one")), note
