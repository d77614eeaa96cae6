"""The guided velocity that a solver integrates: the network with the schedules of a plan, both prompts and guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from ..network.batch_split import BatchSplit
from ..network.forward_options import AS_TRAINED
from ..runtime.devices import release_memory
from ..runtime.oom import PerSampleFallback, oom_message
from ..shapes.latents import LatentSize
from .attention_fallback import attention_fallback
from .guidance import Guider
from .plan import Evaluation, SamplingPlan

# The motion score that stands for none: the network then adds no motion embedding.
NO_MOTION = -1.0
# Features (B or 1, S, D) and bool mask (B or 1, S); None attends to every token.
Text = tuple[torch.Tensor, torch.Tensor | None]


class Denoiser:
    """``velocity(t, x)`` of one run: both prompts in one batch through the network, then guidance.

    The network gets x and t in the dtype of the run. Guidance is float32, and its result is rounded to that dtype, as
    in the official sampler.

    Args:
        model: ``MultiScaleNextDiT`` or anything with the same call signature; ``options`` are passed if the plan
            changes any.
        plan: gives the patch, guidance and motion schedules and renorm.
        noise: (B, C, F, H, W), on the device and in the dtype of the run.
        positive, negative: text features and masks of the prompt and of the negative prompt.
    """

    def __init__(
        self,
        model: Callable[..., torch.Tensor],
        plan: SamplingPlan,
        noise: torch.Tensor,
        positive: Text,
        negative: Text,
    ):
        self.plan, self.dtype = plan, noise.dtype
        self.network = attention_fallback(model)
        self.config: Any = getattr(model, "config", None)
        self.options = {} if plan.network == AS_TRAINED else {"options": plan.network}
        self.fallback = PerSampleFallback(partial(release_memory, noise.device))
        guided = any(scale and scale > 0 for scale in plan.guidance.values)
        features, mask = stack_texts([positive, negative] if guided else [positive], noise.shape[0])
        self.text: Any = features.to(noise.device, noise.dtype)
        self.mask: torch.Tensor | None = mask.to(noise.device)
        # One cache for both prompts: steps without guidance use its first half.
        if hasattr(model, "cache_text"):
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
        channels = getattr(self.config, "guided_channels", None)
        guider = Guider((now.guidance,) * len(negatives), self.plan.renorm, channels)
        return guider(positive, *negatives).to(self.dtype).float()

    def _network(self, x: torch.Tensor, now: Evaluation) -> BatchSplit:
        """The network, which runs one sample at a time once a batch has not fit into memory."""

        def message() -> str:
            patches = self.plan.patches if self.config is None else self.config.patches
            return oom_message(LatentSize(*x.shape[2:]), now.patch, patches)

        return BatchSplit(self.network, lambda call, samples: self.fallback(call, samples, message))

    def _motion(self, now: Evaluation, device: torch.device) -> torch.Tensor:
        """Motion score of each forward pass, in the dtype of the run."""
        scores = (now.motion, now.negative_motion)[: now.passes]
        return torch.tensor([NO_MOTION if s is None else s for s in scores], device=device, dtype=self.dtype)


def stack_texts(texts: Sequence[Text], batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """All texts as one batch, padded on the right to the longest one, with the padding masked.

    Args:
        texts: each with a batch size of 1 or ``batch``.
        batch: samples that each text is expanded to.

    Returns:
        Features (texts * batch, S, D) and bool mask (texts * batch, S).
    """
    longest = max(features.shape[1] for features, _ in texts)
    padded, masks = [], []
    for features, mask in texts:
        if mask is None:
            mask = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        missing = longest - features.shape[1]
        padded.append(F.pad(features, (0, 0, 0, missing)).expand(batch, -1, -1))
        masks.append(F.pad(mask.bool(), (0, missing)).expand(batch, -1))
    return torch.cat(padded), torch.cat(masks)
