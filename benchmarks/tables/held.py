"""The core's sampler with latent frames held, as the host's noise mask and `LuminaVideoImageToVideo` hold them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lumina_core.sampling.denoiser import Text
from lumina_core.sampling.plan import SamplingPlan
from lumina_core.sampling.video import sample


class HeldNetwork:
    """A network whose velocity leads held frames to what is given.

    Args:
        network: ``MultiScaleNextDiT``.
        given, noise: (B, C, F, H, W), where held frames end and begin.
        release: flow time from which each of the F frames is free, as ``sampling.frame_conditioning.release_times``.
    """

    def __init__(self, network, given: torch.Tensor, noise: torch.Tensor, release: Sequence[float]):
        self.network, self.path = network, given - noise
        self.release = torch.tensor(release)[:, None, None]
        self.cache_text = network.cache_text

    def __call__(self, x: torch.Tensor, t: torch.Tensor, *args, **options) -> torch.Tensor:
        velocity = self.network(x, t, *args, **options)
        passes = len(x) // len(self.path)
        return torch.where(t[0] < self.release, self.path.repeat(passes, 1, 1, 1, 1), velocity)


def sample_held(
    network,
    plan: SamplingPlan,
    noise: torch.Tensor,
    texts: tuple[Text, Text],
    given: torch.Tensor,
    release: Sequence[float] | None = None,
    start: int = 0,
) -> torch.Tensor:
    """Latents from step ``start`` of the plan on, where they are ``given`` with that step's noise."""
    t = plan.grid()[start]
    state = t * given + (1 - t) * noise
    held = network if release is None else HeldNetwork(network, given, noise, release)
    return sample(held, state, plan, *texts, start=start)
