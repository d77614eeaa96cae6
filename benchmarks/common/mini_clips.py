"""A loaded bundle, prompts of held-out combinations, and batches of clips."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch

from lumina_core.checkpoints.video import load_video_model
from lumina_core.cost.flops import TextTokens, plan_cost
from lumina_core.mini.captions import LANGUAGES, caption
from lumina_core.mini.world import Scene, random_scene
from lumina_core.network.video import MultiScaleNextDiT
from lumina_core.pipelines.bundle import Bundle, find_bundle
from lumina_core.sampling.denoiser import Text
from lumina_core.sampling.noise import seeded_noise
from lumina_core.sampling.plan import SamplingPlan
from lumina_core.sampling.presets import PRESETS
from lumina_core.sampling.video import sample
from lumina_core.shapes.latents import LatentSize
from lumina_core.text.gemma import TextEncoder, load_text_encoder
from lumina_core.vae.codec import VideoVAE
from lumina_core.vae.loader import load_video_vae

MULTI_SCALE = "-MultiScale"
# Clips sampled together; more save no time on a CPU and cost memory.
BATCH = 20


@dataclass(frozen=True)
class Prompt:
    """A text, and the scene that it describes (speed, size and place are free)."""

    text: str
    language: str
    scene: Scene


@dataclass(frozen=True)
class Mini:
    """A bundle in memory, with three plans: one patch size throughout, several, and whichever the bundle names."""

    bundle: Bundle
    model: MultiScaleNextDiT
    encoder: TextEncoder
    vae: VideoVAE
    single: SamplingPlan
    combined: SamplingPlan
    default: SamplingPlan

    @property
    def size(self) -> LatentSize:
        return self.bundle.size.latent()

    def texts(self, prompts: list[Prompt]) -> tuple[Text, Text]:
        """Features and masks of the prompts, and of the empty negative prompt."""
        encoded = self.encoder.encode([prompt.text for prompt in prompts])
        negative = self.encoder.encode([""])
        return (encoded.features, encoded.mask), (negative.features, negative.mask)

    def latents(self, prompts: list[Prompt], plan: SamplingPlan, seed: int = 0) -> torch.Tensor:
        """Sampled latents (B, C, F, H, W). Clip i starts from noise i of the seed, whatever the plan and the batch."""
        noise = torch.cat([self.noise(seed + i) for i in range(len(prompts))])
        (features, mask), negative = self.texts(prompts)
        return sample(self.model, noise, plan, (features, mask), negative)

    def clips(
        self, prompts: list[Prompt], plan: SamplingPlan, report: Callable[[int], None] = lambda done: None
    ) -> list[torch.Tensor]:
        """Clips (f, H, W, 3) of the prompts, in order."""
        clips: list[torch.Tensor] = []
        for start in range(0, len(prompts), BATCH):
            latents = self.latents(prompts[start : start + BATCH], plan, seed=start)
            clips += [self.vae.decode(item[None]) for item in latents]
            report(len(clips))
        return clips

    def noise(self, seed: int) -> torch.Tensor:
        return seeded_noise((1, *self.size.shape(self.model.config.channels)), seed, torch.device("cpu"), torch.float32)

    def flops(self, plan: SamplingPlan, prompts: list[Prompt]) -> float:
        """FLOPs of one clip, with the mean number of text tokens of the prompts."""
        (_, mask), (_, negative) = self.texts(prompts)
        tokens = TextTokens(round(float(mask.sum(1).float().mean())), int(negative.sum()))
        return plan_cost(plan, self.size, self.model.config, tokens).flops


def load(folder: str, points: int | None = None) -> Mini:
    """The bundle of a name or folder; ``points`` replaces those of its plans. Raises LuminaError."""
    bundle = find_bundle(folder)
    single = bundle.preset.removesuffix(MULTI_SCALE)
    plans = [PRESETS[name] for name in (single, single + MULTI_SCALE, bundle.preset)]
    if points is not None:
        plans = [plan.replace(points=points) for plan in plans]
    model = load_video_model(bundle.checkpoint)
    encoder, vae = load_text_encoder(bundle.text_encoder), load_video_vae(bundle.vae)
    model.config.check_text_width(encoder.width)
    model.config.check_channels(vae.channels)
    return Mini(bundle, model, encoder, vae, *plans)


def held_out_prompts(count: int, seed: int = 0) -> list[Prompt]:
    """Prompts of combinations that no training clip shows, no combination twice, languages alternating."""
    rng = random.Random(f"paper tables {seed}")
    prompts: list[Prompt] = []
    seen = set()
    while len(prompts) < count:
        scene = random_scene(rng, held=True, outline_share=0.0)
        names = (scene.color, scene.shape, scene.background, scene.direction)
        if names not in seen:
            seen.add(names)
            language = LANGUAGES[len(prompts) % len(LANGUAGES)]
            prompts.append(Prompt(caption(scene, rng, language), language, scene))
    return prompts
