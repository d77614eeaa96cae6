"""The bundled model as a pipeline, and clips of its prompts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch

from lumina_core.checkpoints.video import load_video_model
from lumina_core.mini.prompts import Prompt
from lumina_core.network.video import MultiScaleNextDiT
from lumina_core.pipelines.video import LuminaVideoPipeline
from lumina_core.sampling.plan import SamplingPlan
from lumina_core.sampling.presets import PRESETS
from lumina_core.sampling.text import Text

MULTI_SCALE = "-MultiScale"
# Clips sampled together; more save no time on a CPU and cost memory.
BATCH = 20


def load(bundle: str = "mini") -> LuminaVideoPipeline:
    """The pipeline of a bundle in float32 on the CPU, whose networks stay loaded. Raises LuminaError."""
    return LuminaVideoPipeline.from_bundle(bundle, device="cpu", dtype="fp32", keep="all")


def default_plan(pipe: LuminaVideoPipeline, points: int | None = None) -> SamplingPlan:
    """The bundle's preset, its points replaced."""
    plan = PRESETS[pipe.defaults.preset]
    return plan if points is None else plan.replace(points=points)


def network_of(pipe: LuminaVideoPipeline) -> AbstractContextManager[MultiScaleNextDiT]:
    """The network itself, for what the pipeline has no call for."""
    return pipe.network("network", lambda: load_video_model(pipe.files.checkpoint))


def texts_of(pipe: LuminaVideoPipeline, prompts: Sequence[Prompt]) -> tuple[Text, Text]:
    """Features (B, L, D) and masks (B, L) of the prompts, and of as many empty negative prompts."""
    return pipe.encode_prompt([prompt.text for prompt in prompts]).batch(slice(None))


def noise_of(pipe: LuminaVideoPipeline, count: int) -> torch.Tensor:
    """Noise (count, C, F, H, W) of the seeds from 0."""
    return pipe.prepare_latents(pipe.defaults.size, range(count))


def make_clips(
    pipe: LuminaVideoPipeline, prompts: Sequence[Prompt], plan: SamplingPlan, seed: int = 0, **options
) -> list[torch.Tensor]:
    """Clips (f, H, W, 3) of the prompts, in order; clip i starts from the noise of ``seed`` + i."""
    seeds = range(seed, seed + len(prompts))
    texts = [prompt.text for prompt in prompts]
    return list(pipe(texts, plan=plan, seed=list(seeds), batch_size=BATCH, **options).frames)
