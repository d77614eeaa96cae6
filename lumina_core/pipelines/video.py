"""From a prompt to a file: one network in memory at a time, frames written while they are decoded.

Everything that can be wrong is looked for before anything heavy is loaded, and the rest before the first step.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import torch

from ..checkpoints.lora import LoraChoice, apply_lora, check_lora
from ..checkpoints.video import find_weights, load_video_model, read_video_config
from ..cost.flops import step_costs
from ..cost.memory import Run
from ..cost.memory_advice import check_room, room_on
from ..errors import LuminaError
from ..media.contact_sheet import enlarge
from ..media.writer import check_target, write_image, write_video
from ..network.compilation import compile_blocks
from ..network.config import VideoConfig
from ..network.cpu_kernels import prepare_for_cpu
from ..network.extrapolation import size_warning, trained_size
from ..runtime.devices import AUTO, pick_device, pick_dtype, release_memory, wide_dtype
from ..sampling.denoiser import Text
from ..sampling.noise import MAX_SEED, seeded_noise
from ..sampling.plan import Evaluation, SamplingPlan
from ..sampling.step_cache import summary
from ..sampling.step_update import StepUpdate
from ..sampling.video import sample
from ..shapes.latents import LatentSize, VideoSize
from ..text.gemma import MAX_TOKENS, beginning, check_text, load_text_encoder, read_text_width
from ..vae.loader import VideoVAE, load_video_vae, read_vae_channels
from ..vae.oom_decode import decode_stream
from ..vae.tiling import plan_tiles
from ..version import __version__
from .base import ProgressObserver

METADATA_KEY = "lumina_video"
"""Entry of the written file: one JSON object with what made it."""
MAX_FPS = 1000
MAX_SCALE = 32
_PACKAGES = ("av", "diffusers", "transformers", "safetensors")


@dataclass(frozen=True, kw_only=True)
class GenerateRequest:
    """One clip.

    Args:
        checkpoint: folder in the released layout, or one .safetensors or .pth file.
        text_encoder: Gemma-2 in the transformers layout.
        vae: vae folder of CogVideoX-2b or of a bundle, or one .safetensors file.
        out: file to write, .mp4, or .png when the clip is one frame; replaced when it exists.
        size: pixels and frames.
        fps: frames per second of the file, above 0 and up to 1000.
        seed: 0 to 2**64 - 1; see ``noise.seeded_noise``.
        device: auto, cpu, cuda, cuda:1 or mps.
        dtype: auto, fp32, bf16 or fp16.
        vae_tile: side of the VAE's tiles in latent pixels (8 pixels each), None for whole frames.
        scale: 1 to 32, pixels of the file per pixel of the clip, each side.
        loras: LoRA files that are added to the checkpoint, one after another.
        compiled: run the network's blocks through torch.compile where this machine can.
        train_size: clip that the checkpoint was trained on, in place of what it says itself.
    """

    checkpoint: Path
    text_encoder: Path
    vae: Path
    out: Path
    prompt: str
    size: VideoSize
    fps: float
    plan: SamplingPlan
    negative_prompt: str = ""
    seed: int = 0
    device: str = AUTO
    dtype: str = AUTO
    vae_tile: int | None = None
    scale: int = 1
    loras: tuple[LoraChoice, ...] = ()
    compiled: bool = False
    train_size: VideoSize | None = None


@dataclass(frozen=True)
class GenerateResult:
    """What was written: pixels, frames, the whole run's seconds, evaluations (``nfe``) and network passes.

    Evaluations that the step cache ``reused`` count in neither of the two.
    """

    file: Path
    width: int
    height: int
    frames: int
    fps: float
    seconds: float
    nfe: int
    passes: int
    reused: int = 0


@dataclass(frozen=True)
class Prepared:
    """A request that holds together, in the terms of the machine."""

    latent: LatentSize
    config: VideoConfig
    device: torch.device
    dtype: torch.dtype


def prepare(request: GenerateRequest) -> Prepared:
    """Check all that can be known without loading weights. Raises LuminaError."""
    check_text(request.prompt)
    check_text(request.negative_prompt, "negative prompt")
    latent = request.size.latent()
    check_target(request.out, ".png" if _is_image(request) else ".mp4")
    if not (math.isfinite(request.fps) and 0 < request.fps <= MAX_FPS):
        raise LuminaError(f"fps is {request.fps}; write a number above 0 and up to {MAX_FPS}.")
    if not 0 <= request.seed <= MAX_SEED:
        raise LuminaError(f"seed is {request.seed}; write a whole number from 0 to {MAX_SEED}.")
    if not 1 <= request.scale <= MAX_SCALE:
        raise LuminaError(f"scale is {request.scale}; write a whole number from 1 to {MAX_SCALE}.")
    device = pick_device(request.device)
    dtype = pick_dtype(request.dtype, device)
    plan_tiles(latent.height, latent.width, request.vae_tile)
    for name, path in (("text encoder", request.text_encoder), ("VAE", request.vae)):
        if not path.exists():
            raise LuminaError(f"The {name} '{path}' does not exist; give the path of its files.")
    for package in _PACKAGES:
        if find_spec(package) is None:
            raise LuminaError(f"The package {package} is not installed; run: pip install {package}.")
    config = read_video_config(request.checkpoint)
    config.check_text_width(read_text_width(request.text_encoder))
    config.check_channels(read_vae_channels(request.vae))
    config.check_size(latent, request.plan.patches)
    if request.train_size is not None:
        config = replace(config, train_size=request.train_size.latent())
    trained_size(config, request.plan.network)
    for lora in request.loras:
        check_lora(config, lora)
    return Prepared(latent, config, device, dtype)


def generate(request: GenerateRequest, watcher: ProgressObserver | None = None) -> GenerateResult:
    """Make the clip and write it. Raises LuminaError; then, and on an interrupt, no file is written or changed."""
    watcher = watcher or ProgressObserver()
    started = time.perf_counter()
    job = prepare(request)
    if job.latent.pixel_frames != request.size.frames:
        watcher.note(
            f"{request.size.frames} frames are {job.latent.frames} latent frames, which the VAE decodes to "
            f"{job.latent.pixel_frames}; multiples of 8 keep their count."
        )
    if warning := size_warning(job.config, job.latent, request.plan.patches, request.plan.network):
        watcher.note(warning)
    if warning := check_room(memory_run(request, job), job.device, room_on(job.device)):
        watcher.note(warning)
    watcher.stage("reading the VAE")
    # It is small, and a fault in it should show before the sampling, not after.
    vae = load_video_vae(request.vae, "cpu", wide_dtype(job.dtype))
    positive, negative = _encode_prompts(request, job, watcher)
    latents, reused = _sample(request, job, positive, negative, watcher)
    watcher.stage("decoding and writing")
    width, height, frames = _write(request, job, vae, latents, watcher)
    evaluations = list(request.plan.evaluations(job.dtype))
    return GenerateResult(
        file=request.out,
        width=width,
        height=height,
        frames=frames,
        fps=request.fps,
        seconds=time.perf_counter() - started,
        nfe=len(evaluations) - len(reused),
        passes=sum(e.passes for e in evaluations) - sum(e.passes for e in reused),
        reused=len(reused),
    )


def memory_run(request: GenerateRequest, job: Prepared) -> Run:
    """What decides how much memory the request takes."""
    size = job.dtype.itemsize
    return Run(job.config, job.latent, request.plan, dtype_size=size, weight_size=size, tile=request.vae_tile)


def _encode_prompts(request: GenerateRequest, job: Prepared, watcher: ProgressObserver) -> list[Text]:
    watcher.stage("encoding the prompts")
    encoder = load_text_encoder(request.text_encoder, job.device, wide_dtype(job.dtype))
    encoded = encoder.encode([request.prompt, request.negative_prompt])
    names = ("prompt", "negative prompt")
    for name, cut, text in zip(names, encoded.truncated, encoded.left_out, strict=True):
        if cut:
            watcher.note(
                f"The {name} is too long: its last {cut} tokens were cut; {MAX_TOKENS} fit, system prompt included, so "
                f"this is left out: '{beginning(text)}'."
            )
    texts = [(encoded.features[i : i + 1].clone(), encoded.mask[i : i + 1]) for i in range(2)]
    del encoder, encoded
    release_memory(job.device)
    return texts


def _sample(
    request: GenerateRequest, job: Prepared, positive: Text, negative: Text, watcher: ProgressObserver
) -> tuple[torch.Tensor, list[Evaluation]]:
    """Latents, and the evaluations that the step cache reused."""
    watcher.stage("reading the network")
    model = load_video_model(request.checkpoint, job.device, job.dtype)
    model.config = job.config
    for lora in request.loras:
        apply_lora(model, lora.path, lora.strength)
    prepare_for_cpu(model)
    if request.compiled:
        model = compile_blocks(model, job.device, report=watcher.note)
    noise = seeded_noise((1, *job.latent.shape(job.config.channels)), request.seed, job.device, job.dtype)
    watcher.stage("sampling")
    watcher.sampling(step_costs(request.plan, job.latent, job.config, job.dtype))
    reused: list[Evaluation] = []

    def on_step(info: StepUpdate) -> None:
        if info.reused:
            reused.append(info.evaluation)
        watcher.step(info)

    try:
        latents = sample(model, noise, request.plan, positive, negative, on_step=on_step)
    finally:
        watcher.close()
    if request.plan.cache:
        watcher.note(summary(len(reused), request.plan.steps))
    del model
    release_memory(job.device)
    return latents, reused


def _write(
    request: GenerateRequest, job: Prepared, vae: VideoVAE, latents: torch.Tensor, watcher: ProgressObserver
) -> tuple[int, int, int]:
    """Width, height and frames written."""
    vae.module.to(job.device)
    frames = _enlarged(decode_stream(vae, latents, request.vae_tile, watcher.note), request.scale, watcher)
    metadata = {METADATA_KEY: json.dumps(describe(request), ensure_ascii=False)}
    if _is_image(request):
        frame = torch.cat(list(frames))
        write_image(request.out, frame, metadata)
        return frame.shape[2], frame.shape[1], 1
    info = write_video(request.out, frames, request.fps, metadata)
    return info.width, info.height, info.frames


def _enlarged(chunks: Iterator[torch.Tensor], scale: int, watcher: ProgressObserver) -> Iterator[torch.Tensor]:
    """The frames as they go into the file; ``watcher`` is shown each."""
    for chunk in chunks:
        watcher.frames(chunk)
        yield enlarge(chunk, scale)


def describe(request: GenerateRequest) -> dict[str, object]:
    """What made a file, for its metadata; ``SamplingPlan(**plan)`` gives the plan back."""
    loras = [{"file": lora.path.name, "strength": lora.strength} for lora in request.loras]
    trained = {} if request.train_size is None else {"train_size": list(astuple(request.train_size))}
    return ({"loras": loras} if loras else {}) | trained | {
        "version": __version__,
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "seed": request.seed,
        "width": request.size.width,
        "height": request.size.height,
        "frames": request.size.frames,
        "fps": request.fps,
        "checkpoint": find_weights(request.checkpoint).name,
        "plan": request.plan.as_dict(),
    }


def _is_image(request: GenerateRequest) -> bool:
    return request.size.frames == 1
