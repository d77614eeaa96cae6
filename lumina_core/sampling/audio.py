"""Sampling of audio latents: the plan of a run, and the solver and guidance around the network.

As for video, the state is float32, each forward pass gets x and t in the dtype of the run, and guidance is float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch

from ..errors import LuminaError
from ..network.audio_conditioning import AudioCondition
from ..network.batch_split import BatchSplit
from ..runtime.devices import release_memory
from ..runtime.oom import PerSampleFallback, audio_oom_message
from ..shapes.audio_rates import LATENT_RATE
from . import loop
from .attention_fallback import AttentionFallback
from .guidance import Guider
from .loop import integrate
from .solvers import SOLVERS, SolverRun
from .step_update import StepUpdate
from .text import MaskedText, pad_text
from .timesteps import time_grid
from .velocity_model import AttentionModel


@dataclass(frozen=True)
class AudioPlan:
    """Everything that decides an audio sampling run. The paper gives no values; the defaults follow MMAudio.

    Args:
        steps: steps of the time grid, at least 1; 25 as in MMAudio.
        video_guidance, text_guidance: guidance scales gv and gt, from 0, of ``pos + gv (pos - without video) + gt (pos
            - without text, or with the negative prompt)``; 0 skips that forward pass. If the effects of video and text
            add up, 3.5 and 3.5 equal MMAudio's single CFG scale of 4.5 against neither.
        solver: a name in ``lumina_core.sampling.solvers.SOLVERS``.
        time_shift: shift of the time grid, above 0; 1 is no shift.

    Raises:
        LuminaError: a field is out of range.

    Examples:
        >>> plan = AudioPlan(steps=10, text_guidance=0)
        >>> plan.steps, plan.video_guidance, plan.solver
        (10, 3.5, 'euler')
    """

    steps: int = 25
    video_guidance: float = 3.5
    text_guidance: float = 3.5
    solver: str = "euler"
    time_shift: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise LuminaError(
                f"steps is {self.steps!r}; write a whole number of at least 1.", field="steps", kind="value"
            )
        for name in ("video_guidance", "text_guidance"):
            if not _is_finite_number(getattr(self, name)) or getattr(self, name) < 0:
                raise LuminaError(
                    f"{name} is {getattr(self, name)!r}; write a number from 0 (0 skips its forward pass).",
                    field=name,
                    kind="value",
                )
        if self.solver not in SOLVERS:
            raise LuminaError(
                f"solver is '{self.solver}'; choose one of {', '.join(SOLVERS)}.", field="solver", kind="value"
            )
        if not _is_finite_number(self.time_shift) or not self.time_shift > 0:
            raise LuminaError(
                f"time_shift is {self.time_shift!r}; write a number above 0 (1 = no shift).",
                field="time_shift",
                kind="value",
            )

    def grid(self) -> torch.Tensor:
        """The ``steps + 1`` timesteps of the run, float32, from 0 (noise) to 1 (data)."""
        return time_grid(self.steps + 1, self.time_shift)

    def evaluations(self) -> Iterator[float]:
        """The timestep of every evaluation, in order."""
        grid = self.grid()
        for start, end in zip(grid[:-1], grid[1:], strict=True):
            yield from (float(t) for t in SOLVERS[self.solver].stage_times(start, end))

    @property
    def nfe(self) -> int:
        """Evaluations in a run; each takes up to 3 forward passes per sample."""
        return sum(1 for _ in self.evaluations())

    def passes(self, condition: AudioCondition, negative: MaskedText | None = None) -> int:
        """Forward passes per sample that a run with ``condition`` takes."""
        return self.nfe * (1 + len(_negatives(self, condition, negative)))


@torch.no_grad()
def sample_audio(
    model: AttentionModel,
    noise: torch.Tensor,
    plan: AudioPlan,
    condition: AudioCondition,
    negative: MaskedText | None = None,
    on_step: Callable[[StepUpdate], bool | None] | None = None,
) -> torch.Tensor:
    """Run ``plan`` and return latents like ``noise``.

    Args:
        model: ``AudioNextDiT`` or another network with the methods of ``AttentionModel``.
        noise: (B, C, T, F), T latent frames and F mel bins; its dtype is the dtype of the run.
        plan: guidance scales, time grid and solver.
        condition: features of B clips, or of one clip for all samples.
        negative: features and mask of the negative prompt; None uses the condition without text.
        on_step: called after each step; returning False cancels.

    Raises:
        LuminaError: sizes do not fit (at the latest at the first evaluation), or the first velocity is not finite or is
            constant.
        OutOfMemory: memory ran out, also with one sample at a time.
        SamplingCancelled: ``on_step`` returned False.
    """
    condition = _check_run(noise, condition, negative)
    velocity = _Velocity(model, plan, noise, condition, negative)
    solver, grid = SolverRun(SOLVERS[plan.solver]), plan.grid().to(noise.device)

    def update(step: int, t0: torch.Tensor, latents: torch.Tensor, denoised: torch.Tensor) -> StepUpdate:
        return StepUpdate(step, plan.steps, float(t0), latents, denoised)

    return integrate(velocity, solver, noise, grid, range(plan.steps), check_velocity, update, on_step)


class _Velocity:
    """The guided velocity that a solver integrates. All forward passes of an evaluation are one batch, as far as
    memory allows."""

    def __init__(
        self,
        model: AttentionModel,
        plan: AudioPlan,
        noise: torch.Tensor,
        condition: AudioCondition,
        negative: MaskedText | None,
    ):
        self.dtype, self.batch = noise.dtype, len(noise)
        fallback = PerSampleFallback(partial(release_memory, noise.device))
        message = audio_oom_message(noise.shape[2] / LATENT_RATE)
        self.model = BatchSplit(
            AttentionFallback(model), lambda call, samples: fallback(call, samples, lambda: message)
        )
        negatives = _negatives(plan, condition, negative)
        self.guider = Guider(tuple(scale for scale, _ in negatives))
        stacked = AudioCondition.cat(_pad_texts([condition, *(other for _, other in negatives)]))
        self.condition = stacked.to(noise.device, noise.dtype)

    def __call__(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        passes = len(self.guider.scales) + 1
        positive, *others = self.model(
            x.to(self.dtype).repeat(passes, 1, 1, 1),
            t.to(self.dtype).expand(self.batch * passes),
            self.condition,
        ).split(self.batch)
        return self.guider(positive, *others).to(self.dtype).float()


def check_velocity(velocity: torch.Tensor) -> None:
    """Raise LuminaError if a velocity (B, C, T, F) has NaN or infinite values, or a sample of it is constant."""
    loop.check_velocity(velocity.flatten(1)[:, None, None], "clip")


def _negatives(
    plan: AudioPlan, condition: AudioCondition, negative: MaskedText | None
) -> list[tuple[float, AudioCondition]]:
    """Guidance scale and condition of each negative forward pass, without those that equal the positive one."""
    found = []
    if plan.video_guidance and not bool(condition.no_video.all()):
        found.append((plan.video_guidance, condition.without_video()))
    if plan.text_guidance and negative is not None:
        features, mask = (x.to(condition.text.device) for x in negative)
        found.append((plan.text_guidance, condition.with_text(features.to(condition.text.dtype), mask)))
    elif plan.text_guidance and not bool(condition.no_text.all()):
        found.append((plan.text_guidance, condition.without_text()))
    return found


def _pad_texts(conditions: list[AudioCondition]) -> list[AudioCondition]:
    """The conditions with their texts padded on the right to the longest one, and the padding masked."""
    longest = max(condition.text.shape[1] for condition in conditions)

    def padded(condition: AudioCondition) -> AudioCondition:
        text, mask = pad_text((condition.text, condition.text_mask), longest)
        return replace(condition, text=text, text_mask=mask)

    return [padded(condition) for condition in conditions]


def _check_run(noise: torch.Tensor, condition: AudioCondition, negative: MaskedText | None) -> AudioCondition:
    """The condition of every sample of the noise. Raises LuminaError where something does not fit."""
    if noise.ndim != 4:
        raise LuminaError(
            f"noise has {noise.ndim} axes; expected 4: batch, channels, frames, mel bins.", field="noise", kind="value"
        )
    batch = len(noise)
    if len(condition) not in (1, batch):
        raise LuminaError(
            f"The condition has {len(condition)} clips and the noise has {batch}; expected as many, or 1.",
            field="condition",
            kind="mismatch",
        )
    texts = [("prompt", condition.text, condition.text_mask)]
    if negative is not None:
        texts.append(("negative prompt", *negative))
    for name, features, mask in texts:
        if features.ndim != 3 or features.shape[0] not in (1, batch) or mask.shape != features.shape[:2]:
            raise LuminaError(
                f"The {name}'s features have shape {tuple(features.shape)} and its mask {tuple(mask.shape)}; expected "
                f"(1 or {batch}, tokens, width) and the same without width.",
                field=_field(name),
                kind="value",
            )
        if features.shape[2] != condition.text.shape[2]:
            raise LuminaError(
                f"The {name}'s features have width {features.shape[2]} and the prompt's {condition.text.shape[2]}; "
                "encode both with the same CLIP.",
                field=_field(name),
                kind="mismatch",
            )
        if not bool(mask.any(dim=1).all()):
            raise LuminaError(
                f"The {name}'s mask hides every token of a sample; leave at least one token visible.",
                field=_field(name),
                kind="value",
            )
    return condition.expand(batch) if len(condition) == 1 else condition


def _field(name: str) -> str:
    return name.replace(" ", "_")


def _is_finite_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
