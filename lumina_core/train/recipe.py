"""Recipes: the settings of one training stage.

Sources: paper section 3 (objective, stages, sources, motion); official train_exps/f8F32R256 and train.py (values).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import LuminaError
from ..network.config import VideoConfig
from ..sampling.plan import SamplingPlan
from ..shapes.latents import VideoSize
from ..shapes.schedules import PatchSize, parse_patch
from ..text.gemma import SYSTEM_PROMPT
from .objective import DISTRIBUTIONS, UNIFORM
from .settings import Ema, Optimizer, Validation, check_counts, check_precision, check_rates
from .shards import IMAGE, VIDEO

# The linear layers of a block's attention and feed-forward network.
LORA_LAYERS = ("wq", "wk", "wv", "wo", "wk_y", "wv_y", "w1", "w2", "w3")


@dataclass(frozen=True, kw_only=True)
class Network:
    """Sizes of a network trained from scratch; see ``VideoConfig``. The defaults are those of the released model."""

    patches: tuple[str, ...] = tuple(map(str, VideoConfig.patches))
    channels: int = VideoConfig.channels
    dim: int = VideoConfig.dim
    layers: int = VideoConfig.layers
    heads: int = VideoConfig.heads
    kv_heads: int = VideoConfig.kv_heads
    ffn_hidden: int = VideoConfig.ffn_hidden
    cond_dim: int = VideoConfig.cond_dim
    rope_theta: float = VideoConfig.rope_theta
    t_scale: float = VideoConfig.t_scale
    motion_scale: float = VideoConfig.motion_scale

    def config(self, text_dim: int) -> VideoConfig:
        """The network's configuration for text features of ``text_dim`` channels."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return VideoConfig(**values | {"patches": tuple(map(single_patch, self.patches)), "text_dim": text_dim})


@dataclass(frozen=True, kw_only=True)
class Source:
    """One data source.

    Args:
        name: key in the recipe.
        encoded: folder of its encoded data set.
        held_out: folder of an encoded data set for validation, which is never trained on.
        system_prompt: prefix of its captions; a different one per source lets the network distinguish the sources.
        weight: how often a sample of this source is drawn, relative to the other sources; above 0.
    """

    name: str
    encoded: Path
    held_out: Path | None = None
    system_prompt: str = SYSTEM_PROMPT
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.weight < math.inf:
            raise LuminaError(
                f"Source {self.name} has weight {self.weight}; write a number above 0, or omit it.",
                field="weight",
                kind="value",
            )


@dataclass(frozen=True, kw_only=True)
class Task:
    """One patch size, trained on one kind of media.

    Args:
        name: key in the recipe.
        patch: patch size, such as 2x4.
        media: video or image; images allow 1x2 only.
        batch: batch size of a step, over all processes.
        time_shift: shift of the training timesteps; a coarser patch size needs a larger one. It has no default, so
            that nobody trains with an unsuitable one by accident.
        micro_batch: samples per forward pass, fewer to save memory; by default the whole batch of a process.
        times: distribution of the timesteps, uniform or lognorm.
        ratio: with ratios 4, 4 and 1 the third task runs in the first of every 4 steps.
        max_frames: maximum number of latent frames; a longer clip is cropped at a random frame.
        sources: names of the sources to draw from; all by default.
    """

    name: str
    patch: str
    media: str = VIDEO
    batch: int
    time_shift: float
    micro_batch: int | None = None
    times: str = UNIFORM
    ratio: int = 1
    max_frames: int | None = None
    sources: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        where = f"Task {self.name}"
        patch = single_patch(self.patch)
        if self.media not in (IMAGE, VIDEO):
            raise LuminaError(
                f"{where} has media '{self.media}'; write {VIDEO} or {IMAGE}.", field="media", kind="value"
            )
        if self.media == IMAGE and patch.frames > 1:
            raise LuminaError(
                f"{where} trains images with patch size {patch}, which covers {patch.frames} frames; write 1x2.",
                field="patch",
                kind="value",
            )
        if self.times not in DISTRIBUTIONS:
            raise LuminaError(
                f"{where} has times '{self.times}'; write one of {', '.join(DISTRIBUTIONS)}.",
                field="times",
                kind="value",
            )
        check_counts(where, self, "batch", "micro_batch", "ratio", "max_frames")
        if not 0 < self.time_shift < math.inf:
            raise LuminaError(
                f"{where} has time_shift {self.time_shift}; write a number above 0 (1 is no shift).",
                field="time_shift",
                kind="value",
            )


@dataclass(frozen=True, kw_only=True)
class ConditionDropout:
    """Dropout rates of the conditions, 0 to 1, which classifier-free guidance needs.

    Args:
        prompt: rate for the caption; the system prompt is kept.
        motion: rate for the motion score of a clip (0.4 in the paper, 0.3 in the released code).
        image_motion: rate for the motion score of an image, which is 0 otherwise.
    """

    prompt: float = 0.2
    motion: float = 0.3
    image_motion: float = 0.6

    def __post_init__(self) -> None:
        check_rates(self, "prompt", "motion", "image_motion")


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Train a LoRA on linear layers of a frozen checkpoint's blocks.

    Args:
        rank: rank of each low-rank update, 1 or more.
        alpha: each update is scaled by alpha / rank; above 0.
        layers: names of the layers to train, out of ``LORA_LAYERS``.
    """

    rank: int = 16
    alpha: float = 16.0
    layers: tuple[str, ...] = LORA_LAYERS

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise LuminaError(f"The LoRA has rank {self.rank}; write 1 or more.", field="rank", kind="value")
        if not 0 < self.alpha < math.inf:
            raise LuminaError(
                f"The LoRA has alpha {self.alpha}; write a number above 0, such as the rank.",
                field="alpha",
                kind="value",
            )
        unknown = sorted(set(self.layers) - set(LORA_LAYERS))
        if unknown or not self.layers:
            found = f"an unknown layer '{unknown[0]}'" if unknown else "no layers"
            raise LuminaError(
                f"The LoRA has {found}; write any of {', '.join(LORA_LAYERS)}.", field="layers", kind="value"
            )


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Clips that are sampled from fixed prompts during training.

    Args:
        prompts: one clip each.
        every: steps between two rounds of samples.
        plan: fields of a ``SamplingPlan``; ``patch`` is required.
        width, height: in pixels.
        frames: video frames; 1 makes images.
        fps: frame rate of the file.
        seed: of the initial noise, the same for every prompt.
    """

    prompts: tuple[str, ...]
    every: int = 1000
    plan: dict[str, Any] = field(default_factory=lambda: {"patch": "1x2"})
    width: int = 256
    height: int = 256
    frames: int = 32
    fps: float = 8.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_counts("The entry samples", self, "every")
        self.size.latent()
        self.sampling_plan()

    @property
    def size(self) -> VideoSize:
        """Width, height and number of frames."""
        return VideoSize(self.width, self.height, self.frames)

    def sampling_plan(self) -> SamplingPlan:
        """The plan of ``plan``. Raises LuminaError for unknown fields or values, and if ``patch`` is missing."""
        known = [field.name for field in fields(SamplingPlan)]
        unknown = sorted(set(self.plan) - set(known))
        if unknown or "patch" not in self.plan:
            found = f"an unknown field '{unknown[0]}'" if unknown else "no field 'patch'"
            raise LuminaError(
                f"The samples have a plan with {found}; its fields are {', '.join(known)}.", field="plan", kind="value"
            )
        return SamplingPlan(**self.plan)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One stage of training.

    Args:
        out: folder of the run.
        steps: number of optimizer steps of the whole run.
        text_encoder: folder of the frozen text encoder.
        sources, tasks: by name; at least one of each.
        start_from: checkpoint, or folder of an earlier run, whose weights the run starts from.
        network: sizes of a network that is trained from scratch; give either this or ``start_from``.
        lora: train a LoRA on ``start_from``.
        vae: folder of the VAE; only samples need it.
        seed: of the initial weights, the data order, noise, timesteps and dropout.
        device: auto, cpu, cuda and so on.
        precision: fp32, or bf16 for mixed precision with float32 weights.
        checkpointing: activation checkpointing, which recomputes each block in the backward pass to save memory.
        direction_weight: weight of the cosine loss that is added to the squared error (official ``vd_weight``).
        drop: dropout rates of the conditions.
        optimizer: AdamW and its schedule.
        ema: EMA of the weights; None for none.
        validation: held-out loss; None for none.
        samples: clips sampled during training; None for none.
        log_every, save_every: steps between two lines of the log, and between two saved states.
        keep: number of saved states to keep.

    Raises:
        LuminaError: a value is out of range, or entries contradict each other.
    """

    out: Path
    steps: int
    text_encoder: Path
    sources: dict[str, Source]
    tasks: dict[str, Task]
    start_from: Path | None = None
    network: Network | None = None
    lora: Lora | None = None
    vae: Path | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "fp32"
    checkpointing: bool = False
    direction_weight: float = 1.0
    drop: ConditionDropout = ConditionDropout()
    optimizer: Optimizer = Optimizer()
    ema: Ema | None = Ema()
    validation: Validation | None = None
    samples: Samples | None = None
    log_every: int = 10
    save_every: int = 1000
    keep: int = 2

    def __post_init__(self) -> None:
        if (self.start_from is None) == (self.network is None):
            raise LuminaError(
                "The recipe has both or neither of start_from and network; write one of them.",
                field="start_from",
                kind="value",
            )
        if self.lora is not None and self.start_from is None:
            raise LuminaError(
                "The recipe trains a LoRA without a checkpoint; add start_from.", field="start_from", kind="missing"
            )
        if self.samples is not None and self.vae is None:
            raise LuminaError(
                "The recipe has samples but no vae; add vae, or remove samples.", field="vae", kind="missing"
            )
        check_precision(self.precision)
        check_counts("The recipe", self, "steps", "log_every", "save_every", "keep")
        if not self.sources or not self.tasks:
            raise LuminaError(
                "The recipe has no sources or no tasks; it needs at least one of each.",
                field="tasks" if self.sources else "sources",
                kind="missing",
            )
        for task in self.tasks.values():
            unknown = sorted(set(task.sources or ()) - set(self.sources))
            if unknown:
                raise LuminaError(
                    f"Task {task.name} draws from '{unknown[0]}', which is not a source of this recipe; name one of "
                    f"{', '.join(self.sources)}.",
                    field="sources",
                    kind="value",
                )


def single_patch(text: str) -> PatchSize:
    """A single patch size such as 2x4. Raises LuminaError for anything else, such as a schedule."""
    values = parse_patch(text).values
    if len(values) != 1:
        raise LuminaError(f"'{text}' is a schedule; write one patch size, such as 2x4.", field="patch", kind="value")
    return values[0]
