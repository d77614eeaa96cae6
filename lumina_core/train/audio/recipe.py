"""What a stage of sound training does, as data.

Sources: paper appendix D (data, AV-Align); it gives no number of the training itself, so the defaults are MMAudio's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...audio.synchformer import STRIDE
from ...errors import LuminaError
from ...network.audio_config import AUDIO_PRESETS, AudioConfig
from ...runtime.dataclass_schema import build
from ..objective import DISTRIBUTIONS, LOG_NORMAL
from ..recipe import Ema, Optimizer, Validation, check_counts, check_precision, check_rates

SHORTEST_CROP = 2 * STRIDE
"""Latent rows of the shortest crop, one segment of Synchformer: both have 25 a second."""
PRESET = "preset"


@dataclass(frozen=True, kw_only=True)
class AudioSource:
    """One data source.

    Args:
        encoded: folder of its encoded set.
        held_out: folder of an encoded set to measure on, never trained on.
        weight: how often an item of it is met, relative to the others.
        min_av_align: train only on items with this AV-Align score or more; the paper's fine-tuning has 0.2.
    """

    name: str
    encoded: Path
    held_out: Path | None = None
    weight: float = 1.0
    min_av_align: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.weight < math.inf:
            raise LuminaError(f"Source {self.name} has weight {self.weight}; write a number above 0, or leave it out.")
        if self.min_av_align is not None and not 0 <= self.min_av_align <= 1:
            raise LuminaError(
                f"Source {self.name} has min_av_align {self.min_av_align}; write a number from 0 to 1, such as 0.2."
            )


@dataclass(frozen=True, kw_only=True)
class AudioConditionDropout:
    """How often a stream is left out, 0 to 1, each by itself, so that guidance has something to compare with.

    Args:
        video: the features of CLIP and of Synchformer together.
        text: the caption.
    """

    video: float = 0.1
    text: float = 0.1

    def __post_init__(self) -> None:
        check_rates(self, "video", "text")


@dataclass(frozen=True, kw_only=True)
class AudioTask:
    """The one task of a sound recipe, as the loop knows tasks."""

    batch: int
    micro_batch: int | None
    name: str = "sound"
    ratio: int = 1


@dataclass(frozen=True, kw_only=True)
class AudioRecipe:
    """One stage of training Lumina-V2A.

    Args:
        out: folder of the run.
        steps: of the whole run.
        sources: by name.
        batch: items of a step, over all processes.
        micro_batch: items that run at once, to save memory; the whole batch of a process when absent.
        start_from: sound model, its folder, or an earlier run, whose weights the run starts from; absent, ``network``
            says the sizes: the name of a preset, or fields of ``AudioConfig``, with ``preset`` for those not written.
        features: folder of the encoders; a new network keeps their features of an empty text.
        max_rows: latent rows of an item at most, 25 a second; a longer one is cut at random where a segment of
            Synchformer begins.
        times: uniform or lognorm.
        time_shift: of the training times.
        precision: fp32, or bf16 for the matrix work, the weights staying float32.
        checkpointing: compute each block twice to keep no activations inside it.
        log_every, save_every: steps between lines of the log, and between saved states.
        keep: how many saved states stay.
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
            raise LuminaError("The recipe gives both or neither of start_from and network; give one of them.")
        if self.network is not None:
            self.config()
            if self.features is None:
                raise LuminaError(
                    "The recipe begins a new network and names no features; add the folder of the encoders, whose "
                    "features of an empty text it keeps."
                )
        if not self.sources:
            raise LuminaError("The recipe has no sources; it needs at least one.")
        if self.times not in DISTRIBUTIONS:
            raise LuminaError(f"times is '{self.times}'; write one of {', '.join(DISTRIBUTIONS)}.")
        if not 0 < self.time_shift < math.inf:
            raise LuminaError(f"time_shift is {self.time_shift}; write a number above 0 (1 = no shift).")
        check_precision(self.precision)
        check_counts("The recipe", self, "steps", "batch", "micro_batch", "log_every", "save_every", "keep")
        if self.max_rows is not None and (self.max_rows < SHORTEST_CROP or self.max_rows % STRIDE):
            raise LuminaError(
                f"max_rows is {self.max_rows}; write a multiple of {STRIDE} (0.32 s), {SHORTEST_CROP} or more."
            )

    def config(self) -> AudioConfig:
        """Of a new network. Raises LuminaError."""
        values = {PRESET: self.network} if isinstance(self.network, str) else self.network
        where = "The recipe, network"
        if not isinstance(values, Mapping):
            raise LuminaError(
                f"{where}, is {values!r}; write one of {', '.join(AUDIO_PRESETS)}, or fields with values."
            )
        preset = values.get(PRESET)
        if PRESET in values and preset not in AUDIO_PRESETS:
            raise LuminaError(f"{where}, has preset {preset!r}; write one of {', '.join(AUDIO_PRESETS)}.")
        written = {name: value for name, value in values.items() if name != PRESET}
        return build(AudioConfig, (asdict(AUDIO_PRESETS[preset]) if preset else {}) | written, where)

    def task(self) -> AudioTask:
        return AudioTask(batch=self.batch, micro_batch=self.micro_batch)
