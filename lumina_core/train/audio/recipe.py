"""Recipes of Lumina-V2A: the settings of one training stage.

Sources: paper appendix D (data, AV-Align). The paper has no hyperparameters of the training, so the defaults are those
of MMAudio.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import LuminaError
from ...network.audio_config import AUDIO_PRESETS, AudioConfig
from ...runtime.dataclass_schema import build
from ...shapes.audio_rates import STRIDE
from ..objective import DISTRIBUTIONS, LOG_NORMAL
from ..settings import Ema, Optimizer, Validation, check_counts, check_precision, check_rates

# Latent frames of the shortest crop, which is one Synchformer segment; both have 25 frames per second.
SHORTEST_CROP = 2 * STRIDE
# Key of ``network`` that names the preset of the fields that are not written.
PRESET = "preset"


@dataclass(frozen=True, kw_only=True)
class AudioSource:
    """One data source.

    Args:
        name: key in the recipe.
        encoded: folder of its encoded data set.
        held_out: folder of an encoded data set for validation, which is never trained on.
        weight: how often a sample of this source is drawn, relative to the other sources; above 0.
        min_av_align: minimum AV-Align score, 0 to 1, of the clips to train on; 0.2 in the paper's fine-tuning.
    """

    name: str
    encoded: Path
    held_out: Path | None = None
    weight: float = 1.0
    min_av_align: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.weight < math.inf:
            raise LuminaError(
                f"Source {self.name} has weight {self.weight}; write a number above 0, or omit it.",
                field="weight",
                kind="value",
            )
        if self.min_av_align is not None and not 0 <= self.min_av_align <= 1:
            raise LuminaError(
                f"Source {self.name} has min_av_align {self.min_av_align}; write a number from 0 to 1, such as 0.2.",
                field="min_av_align",
                kind="value",
            )


@dataclass(frozen=True, kw_only=True)
class AudioConditionDropout:
    """Dropout rates of the conditions, 0 to 1, independent of each other, which classifier-free guidance needs.

    Args:
        video: rate for the features of CLIP and Synchformer, which are dropped together.
        text: rate for the caption.
    """

    video: float = 0.1
    text: float = 0.1

    def __post_init__(self) -> None:
        check_rates(self, "video", "text")


@dataclass(frozen=True, kw_only=True)
class AudioTask:
    """The only task of an audio recipe; see ``batches.TaskSpec``."""

    batch: int
    micro_batch: int | None
    name: str = "sound"
    ratio: int = 1


@dataclass(frozen=True, kw_only=True)
class AudioRecipe:
    """One stage of training Lumina-V2A.

    Args:
        out: folder of the run.
        steps: number of optimizer steps of the whole run.
        sources: by name; at least one.
        batch: batch size of a step, over all processes.
        micro_batch: samples per forward pass, fewer to save memory; by default the whole batch of a process.
        start_from: audio model, its folder, or folder of an earlier run, whose weights the run starts from.
        network: sizes of a network that is trained from scratch: the name of a preset, or fields of ``AudioConfig``
            with ``preset`` for those that are not written. Give either this or ``start_from``.
        features: folder of the encoders; a new network stores their features of an empty text.
        max_rows: maximum number of latent frames, 25 per second; a longer clip is cropped, starting at a random
            Synchformer segment.
        times: distribution of the timesteps, uniform or lognorm.
        time_shift: shift of the timesteps, above 0.
        drop: dropout rates of the conditions.
        seed: of the initial weights, the data order, noise, timesteps and dropout.
        device: auto, cpu, cuda and so on.
        precision: fp32, or bf16 for mixed precision with float32 weights.
        checkpointing: activation checkpointing, which recomputes each block in the backward pass to save memory.
        optimizer: AdamW and its schedule.
        ema: EMA of the weights; None for none.
        validation: held-out loss; None for none.
        log_every, save_every: steps between two lines of the log, and between two saved states.
        keep: number of saved states to keep.

    Raises:
        LuminaError: a value is out of range, or entries contradict each other.
    """

    out: Path
    steps: int
    sources: dict[str, AudioSource]
    batch: int
    micro_batch: int | None = None
    start_from: Path | None = None
    network: Any = None
    features: Path | None = None
    max_rows: int | None = None
    times: str = LOG_NORMAL
    time_shift: float = 1.0
    drop: AudioConditionDropout = AudioConditionDropout()
    seed: int = 0
    device: str = "auto"
    precision: str = "fp32"
    checkpointing: bool = False
    optimizer: Optimizer = Optimizer()
    ema: Ema | None = Ema()
    validation: Validation | None = None
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
        if self.network is not None:
            self.config()
            if self.features is None:
                raise LuminaError(
                    "The recipe has network but no features; add the folder of the encoders, because the network "
                    "stores their features of an empty text.",
                    field="features",
                    kind="missing",
                )
        if not self.sources:
            raise LuminaError("The recipe has no sources; it needs at least one.", field="sources", kind="missing")
        if self.times not in DISTRIBUTIONS:
            raise LuminaError(
                f"times is '{self.times}'; write one of {', '.join(DISTRIBUTIONS)}.", field="times", kind="value"
            )
        if not 0 < self.time_shift < math.inf:
            raise LuminaError(
                f"time_shift is {self.time_shift}; write a number above 0 (1 is no shift).",
                field="time_shift",
                kind="value",
            )
        check_precision(self.precision)
        check_counts("The recipe", self, "steps", "batch", "micro_batch", "log_every", "save_every", "keep")
        if self.max_rows is not None and (self.max_rows < SHORTEST_CROP or self.max_rows % STRIDE):
            raise LuminaError(
                f"max_rows is {self.max_rows}; write a multiple of {STRIDE} (0.32 s), {SHORTEST_CROP} or more.",
                field="max_rows",
                kind="value",
            )

    def config(self) -> AudioConfig:
        """Configuration of a network that is trained from scratch. Raises LuminaError if ``network`` is invalid."""
        values = {PRESET: self.network} if isinstance(self.network, str) else self.network
        where = "The recipe's network"
        if not isinstance(values, Mapping):
            raise LuminaError(
                f"{where} is {values!r}; write one of {', '.join(AUDIO_PRESETS)}, or fields with values.",
                field="network",
                kind="value",
            )
        preset = values.get(PRESET)
        if PRESET in values and preset not in AUDIO_PRESETS:
            raise LuminaError(
                f"{where} has preset {preset!r}; write one of {', '.join(AUDIO_PRESETS)}.", field="preset", kind="value"
            )
        written = {name: value for name, value in values.items() if name != PRESET}
        return build(AudioConfig, (asdict(AUDIO_PRESETS[preset]) if preset else {}) | written, where)

    def task(self) -> AudioTask:
        """The task that the loop runs."""
        return AudioTask(batch=self.batch, micro_batch=self.micro_batch)
