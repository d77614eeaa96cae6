"""The guided velocity that a solver integrates: the network with the schedules of a plan, both prompts and guidance."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from ..network.batch_split import BatchSplit
from ..network.forward_options import AS_TRAINED
from ..runtime.devices import release_memory
from ..runtime.oom import PerSampleFallback, oom_message
from ..shapes.latents import LatentSize
from .attention_fallback import AttentionFallback
from .guidance import Guider
from .plan import Evaluation, SamplingPlan
from .text import Text, stack_texts
from .velocity_model import VelocityModel

# The motion score that stands for none: the network then adds no motion embedding.
NO_MOTION = -1.0


class Denoiser:
    """``velocity(t, x)`` of one run: both prompts in one batch through the network, then guidance.

    The network gets x and t in the dtype of the run. Guidance is float32, and its result is rounded to that dtype, as
    in the official sampler.

    Args:
        model: the network; ``options`` are passed to it if the plan changes any.
        plan: gives the patch, guidance and motion schedules and renorm.
        noise: (B, C, F, H, W), on the device and in the dtype of the run.
        positive, negative: text features and masks of the prompt and of the negative prompt.
        text_cache: whether the keys and values of the texts are computed once for the run.
    """

    def __init__(
        self,
        model: VelocityModel,
        plan: SamplingPlan,
        noise: torch.Tensor,
        positive: Text,
        negative: Text,
        text_cache: bool = True,
    ):
        self.plan, self.dtype, self.config = plan, noise.dtype, model.config
        self.network = AttentionFallback(model)
        self.options = {} if plan.network == AS_TRAINED else {"options": plan.network}
        self.fallback = PerSampleFallback(partial(release_memory, noise.device))
        guided = any(scale and scale > 0 for scale in plan.guidance.values)
        features, mask = stack_texts([positive, negative] if guided else [positive], noise.shape[0])
        self.text: Any = features.to(noise.device, noise.dtype)
        self.mask: torch.Tensor | None = mask.to(noise.device)
        # One cache for both prompts: steps without guidance use its first half.
        if text_cache:
            self.text, self.mask = model.cache_text(self.text, self.mask), None

    def __call__(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The guided velocity, float32 like the state ``x`` (B, C, F, H, W), at timestep ``t``, a scalar tensor."""
        t = t.to(self.dtype)
        now = self.plan.at(float(t))
        batch, samples = len(x), len(x) * now.passes
        velocities = self._network(x, now)(
            x.to(self.dtype).repeat(now.passes, 1, 1, 1, 1),
            t.expand(samples),
            self.text[:samples],
            None if self.mask is None else self.mask[:samples],
            self._motion(now, x.device).repeat_interleave(batch),
            now.patch,
            **self.options,
        )
        positive, *negatives = velocities.split(batch)
        guider = Guider((now.guidance,) * len(negatives), self.plan.renorm, self.config.guided_channels)
        return guider(positive, *negatives).to(self.dtype).float()

    def _network(self, x: torch.Tensor, now: Evaluation) -> BatchSplit:
        """The network, which runs one sample at a time once a batch has not fit into memory."""

        def message() -> str:
            return oom_message(LatentSize(*x.shape[2:]), now.patch, self.config.patches)

        return BatchSplit(self.network, lambda call, samples: self.fallback(call, samples, message))

    def _motion(self, now: Evaluation, device: torch.device) -> torch.Tensor:
        """Motion score of each forward pass, in the dtype of the run."""
        scores = (now.motion, now.negative_motion)[: now.passes]
        return torch.tensor([NO_MOTION if s is None else s for s in scores], device=device, dtype=self.dtype)
