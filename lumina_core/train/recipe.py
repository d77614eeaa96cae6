"""What a training stage does, as data.

Sources: paper section 3 (objective, stages, sources, motion), official train_exps/f8F32R256 and train.py (numbers).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from ..errors import LuminaError
from ..network.config import VideoConfig
from ..sampling.plan import SamplingPlan
from ..shapes.latents import VideoSize
from ..shapes.schedules import PatchSize, parse_patch
from ..text.gemma import SYSTEM_PROMPT
from .objective import DISTRIBUTIONS, UNIFORM
from .shards import IMAGE, VIDEO

PRECISIONS = ("fp32", "bf16")
LORA_LAYERS = ("wq", "wk", "wv", "wo", "wk_y", "wv_y", "w1", "w2", "w3")
"""The linear layers of a block's attention and feed-forward."""


def check_counts(where: str, settings: object, *names: str) -> None:
    """Raise LuminaError unless all of these fields are 1 or more, or absent."""
    for name in names:
        count = getattr(settings, name)
        if count is not None and count < 1:
            raise LuminaError(f"{where} has {name} {count}; write 1 or more.")


def check_rates(drop: object, *names: str) -> None:
    """Raise LuminaError unless all of these drop rates are from 0 to 1."""
    for name in names:
        if not 0 <= getattr(drop, name) <= 1:
            raise LuminaError(f"The drop rate of {name} is {getattr(drop, name)}; write a number from 0 to 1.")


def check_precision(precision: str) -> None:
    """Raise LuminaError for an unknown one."""
    if precision not in PRECISIONS:
        raise LuminaError(f"precision is '{precision}'; write {' or '.join(PRECISIONS)}.")


@dataclass(frozen=True, kw_only=True)
class Network:
    """Sizes of a network that starts from nothing; see ``VideoConfig``. Defaults are the released model's."""

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
        """The configuration for text features of a width."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return VideoConfig(**values | {"patches": tuple(map(one_patch, self.patches)), "text_dim": text_dim})


@dataclass(frozen=True, kw_only=True)
class Source:
    """One data source.

    Args:
        encoded: folder of its encoded set.
        held_out: folder of an encoded set to measure on, never trained on.
        system_prompt: what its captions stand behind; one for each source tells the network the sources apart.
        weight: how often an item of it is met, relative to the others.
    """

    name: str
    encoded: Path
    held_out: Path | None = None
    system_prompt: str = SYSTEM_PROMPT
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.weight < math.inf:
            raise LuminaError(f"Source {self.name} has weight {self.weight}; write a number above 0, or leave it out.")


@dataclass(frozen=True, kw_only=True)
class Task:
    """One patch size at work on one kind of data.

    Args:
        patch: such as 2x4.
        media: video or image; images take 1x2 only.
        batch: items of a step, over all processes.
        time_shift: of the training times; a coarser patch size needs a larger one. It has no default on purpose.
        micro_batch: items that run at once, to save memory; the whole batch of a process when absent.
        times: uniform or lognorm.
        ratio: with ratios 4, 4 and 1 the third task runs in the first of every 4 steps.
        max_frames: latent frames of an item at most; a longer one is cut at random.
        sources: names of the sources that it draws from; all when absent.
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
        patch = one_patch(self.patch)
        if self.media not in (IMAGE, VIDEO):
            raise LuminaError(f"{where} has media '{self.media}'; write {VIDEO} or {IMAGE}.")
        if self.media == IMAGE and patch.frames > 1:
            raise LuminaError(f"{where} trains images with patch size {patch}; images take 1x2, which is one frame.")
        if self.times not in DISTRIBUTIONS:
            raise LuminaError(f"{where} draws t as '{self.times}'; write one of {', '.join(DISTRIBUTIONS)}.")
        check_counts(where, self, "batch", "micro_batch", "ratio", "max_frames")
        if not 0 < self.time_shift < math.inf:
            raise LuminaError(f"{where} has time_shift {self.time_shift}; write a number above 0 (1 = no shift).")


@dataclass(frozen=True, kw_only=True)
class ConditionDropout:
    """How often a condition is left out, 0 to 1, so that guidance has something to compare with.

    Args:
        prompt: the caption; the system prompt stays.
        motion: the motion score of a clip (the paper says 0.4, the released code 0.3).
        image_motion: the motion score of an image; otherwise it is 0, since nothing moves.
    """

    prompt: float = 0.2
    motion: float = 0.3
    image_motion: float = 0.6

    def __post_init__(self) -> None:
        check_rates(self, "prompt", "motion", "image_motion")


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """AdamW. ``warmup`` steps rise to the rate, the last ``decay`` steps fall to zero, both in a straight line."""

    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-15
    weight_decay: float = 0.0
    grad_clip: float = 2.0
    warmup: int = 0
    decay: int = 0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "eps", "grad_clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise LuminaError(f"The optimizer has {name} {getattr(self, name)}; write a number above 0.")
        for name in ("weight_decay", "warmup", "decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise LuminaError(f"The optimizer has {name} {getattr(self, name)}; write 0 or more.")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise LuminaError(f"The optimizer has betas {list(self.betas)}; write two numbers from 0 to below 1.")

    def build(self, parameters: list[torch.nn.Parameter]) -> torch.optim.AdamW:
        """The optimizer of some parameters."""
        return torch.optim.AdamW(parameters, self.learning_rate, self.betas, self.eps, self.weight_decay)

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0."""
        rising = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        falling = min(1.0, (steps - step) / self.decay) if self.decay else 1.0
        return self.learning_rate * min(rising, falling)


@dataclass(frozen=True, kw_only=True)
class Ema:
    """Running average of the weights: ``decay`` applied every ``every`` steps."""

    decay: float = 0.99
    every: int = 10

    def __post_init__(self) -> None:
        check_counts("The running average (ema)", self, "every")
        if not 0 <= self.decay < 1:
            raise LuminaError(f"The running average (ema) has decay {self.decay}; write a number from 0 to below 1.")


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Train low-rank additions to linear layers of a checkpoint's blocks, not the checkpoint itself.

    Args:
        rank: of each addition.
        alpha: an addition counts alpha / rank times.
        layers: names of the layers that get one.
    """

    rank: int = 16
    alpha: float = 16.0
    layers: tuple[str, ...] = LORA_LAYERS

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise LuminaError(f"The LoRA's rank is {self.rank}; write 1 or more.")
        if not 0 < self.alpha < math.inf:
            raise LuminaError(f"The LoRA's alpha is {self.alpha}; write a number above 0, such as the rank.")
        unknown = sorted(set(self.layers) - set(LORA_LAYERS))
        if unknown or not self.layers:
            found = f"a layer '{unknown[0]}'" if unknown else "no layers"
            raise LuminaError(f"The LoRA has {found}; write any of {', '.join(LORA_LAYERS)}.")


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Loss of each patch size in windows of t, on the held-out set of each source."""

    every: int = 1000
    items: int = 64
    windows: int = 20

    def __post_init__(self) -> None:
        check_counts("The validation", self, "every", "items", "windows")


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Clips of fixed prompts as training goes; ``plan`` takes the fields of a sampling plan."""

    prompts: tuple[str, ...]
    every: int = 1000
    plan: dict[str, Any] = field(default_factory=lambda: {"patch": "1x2"})
    width: int = 256
    height: int = 256
    frames: int = 32
    fps: float = 8.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_counts("The samples", self, "every")
        self.size.latent()
        self.sampling_plan()

    @property
    def size(self) -> VideoSize:
        return VideoSize(self.width, self.height, self.frames)

    def sampling_plan(self) -> SamplingPlan:
        known = [field.name for field in fields(SamplingPlan)]
        unknown = sorted(set(self.plan) - set(known))
        if unknown or "patch" not in self.plan:
            found = f"an unknown field '{unknown[0]}'" if unknown else "no field 'patch'"
            raise LuminaError(f"The samples have a plan with {found}; its fields are {', '.join(known)}.")
        return SamplingPlan(**self.plan)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One stage of training.

    Args:
        out: folder of the run.
        steps: of the whole run.
        text_encoder: folder of the frozen text encoder.
        sources, tasks: by name.
        start_from: checkpoint whose weights the run starts from; absent, ``network`` says the sizes.
        lora: train a LoRA on ``start_from``.
        vae: only for samples.
        direction_weight: weight of one minus the cosine beside the squared error (official ``vd_weight``).
        precision: fp32, or bf16 for the matrix work, the weights staying float32.
        checkpointing: compute each block twice to keep no activations inside it.
        log_every, save_every: steps between lines of the log, and between saved states.
        keep: how many saved states stay.
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
            raise LuminaError("The recipe gives both or neither of start_from and network; give one of them.")
        if self.lora is not None and self.start_from is None:
            raise LuminaError("The recipe trains a LoRA on no checkpoint; give start_from.")
        if self.samples is not None and self.vae is None:
            raise LuminaError("The recipe asks for samples and names no vae; add vae, or leave samples out.")
        check_precision(self.precision)
        check_counts("The recipe", self, "steps", "log_every", "save_every", "keep")
        if not self.sources or not self.tasks:
            raise LuminaError("The recipe has no sources or no tasks; it needs at least one of each.")
        for task in self.tasks.values():
            unknown = sorted(set(task.sources or ()) - set(self.sources))
            if unknown:
                raise LuminaError(
                    f"Task {task.name} draws from '{unknown[0]}', which is no source of this recipe; name one of "
                    f"{', '.join(self.sources)}."
                )


def one_patch(text: str) -> PatchSize:
    """A single patch size such as 2x4. Raises LuminaError."""
    values = parse_patch(text).values
    if len(values) != 1:
        raise LuminaError(f"'{text}' is a schedule; write one patch size, such as 2x4.")
    return values[0]
