"""What the core gives for a graph of graphs.py: same tiny checkpoint, texts and noise, in float32."""

from __future__ import annotations

from pathlib import Path

import torch
from graphs import NEGATIVE, PROMPT, SIZE
from safetensors.torch import load_file
from server import HostServer, Result

from lumina_core import SamplingPlan, load_video_model, sample
from lumina_core.text.gemma import load_text_encoder
from lumina_core.vae.loader import SCALE
from scripts.make_tiny_set import MODEL_FOLDER, TEXT_FOLDER

SEED = 7


def noise(seed: int = SEED, batch: int = 1, frames: int = SIZE["frames"]) -> torch.Tensor:
    """What the host's own noise node draws for a latent of ``graphs.SIZE``."""
    shape = (batch, 16, max(1, frames // 4), SIZE["height"] // 8, SIZE["width"] // 8)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def saved_latents(result: Result, node: str) -> torch.Tensor:
    """The file of a SaveLatent node, in the scale of the network."""
    (file,) = result.files(node)
    return load_file(file)["latent_tensor"] * SCALE


def run_saved(server: HostServer, graph, samples: list) -> torch.Tensor:
    """Run ``graph`` up to ``samples``; latents in the scale of the network."""
    save = graph.save_latent(samples)
    return saved_latents(server.prompt(graph.api), save.id)


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The project's metric: max|a - b| / rms(b). `pytest -rP` shows what was measured."""
    assert found.shape == expected.shape
    value = float((found - expected).abs().max() / expected.pow(2).mean().sqrt())
    print(f"max/rms {value:.1e}")
    return value


class Core:
    """The core's network and text encoder on the tiny set, float32 on the processor."""

    def __init__(self, models: Path):
        # Two threads on so small a network only wait for each other.
        torch.set_num_threads(1)
        self.network = load_video_model(models / MODEL_FOLDER)
        self.encoder = load_text_encoder(models / TEXT_FOLDER)

    def text(self, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.encoder.encode([prompt])
        return features.features, features.mask

    def sample(
        self, plan: SamplingPlan, start: torch.Tensor, prompt: str = PROMPT, negative: str = NEGATIVE
    ) -> torch.Tensor:
        return sample(self.network, start, plan, self.text(prompt), self.text(negative))
