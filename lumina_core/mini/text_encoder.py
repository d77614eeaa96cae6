"""Trains the mini bundle's text encoder: a tiny transformer with the architecture of Gemma-2.

It is not Gemma and shares no weights with it; the architecture only lets the same loaders read it. Its features are
trained so that their mean over a prompt contains one fixed direction in feature space for each color, shape, background
and direction of motion, which the video network can use from its first training step.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from ..network.embeddings import masked_mean
from ..runtime.atomic import atomic_write
from ..text.gemma import TextEncoder, load_text_encoder
from .captions import LANGUAGES, caption
from .optimize import cosine_rate, optimize
from .system_prompts import SYSTEM_PROMPTS
from .tokenizer import write_tokenizer
from .world import BACKGROUNDS, COLORS, DIRECTIONS, SHAPES, random_scene

FIGURES = "trained.json"  # accuracy on new captions by language; written last
# The names that a caption can contain.
_TABLES = (tuple(COLORS), SHAPES, tuple(BACKGROUNDS), tuple(DIRECTIONS), tuple(SYSTEM_PROMPTS))
# Target length of each named direction in the normalized mean, whose own length is the square root of the width.
_STRENGTH = 3.5
_EMPTY_SHARE = 0.1  # share of empty captions
_STILL_SHARE = 0.25  # share of captions without motion
_WARMUP = 30  # steps


@dataclass(frozen=True, kw_only=True)
class TextEncoderRecipe:
    """Sizes and training of the encoder.

    Args:
        out: folder to write, in the transformers layout.
        width: width of the features, a multiple of 32.
        layers: layers that run. The file has one more, because features come from the second-last layer.
        steps: training steps with AdamW and a cosine decay.
        batch: captions per step.
        learning_rate: highest learning rate.
        seed: random seed.
    """

    out: Path
    width: int = 128
    layers: int = 2
    steps: int = 600
    batch: int = 64
    learning_rate: float = 2e-3
    seed: int = 0


def train_text_encoder(
    recipe: TextEncoderRecipe, report: Callable[[int, float], None] = lambda step, loss: None
) -> dict[str, float]:
    """Train and write the encoder.

    Args:
        recipe: sizes and training.
        report: called with step and loss after each step.

    Returns:
        By language, the share of new captions whose names are all read back correctly.
    """
    torch.manual_seed(recipe.seed)
    recipe.out.mkdir(parents=True, exist_ok=True)
    _write_untrained(recipe)
    encoder = load_text_encoder(recipe.out)
    model = encoder.model.requires_grad_(True)
    directions = _directions(recipe.width, recipe.seed)
    rng = random.Random(recipe.seed)

    def loss() -> torch.Tensor:
        texts, targets = zip(*(_sample(rng) for _ in range(recipe.batch)), strict=True)
        return (_read_out(encoder, list(texts), directions) - torch.stack(targets)).pow(2).sum(dim=1).mean()

    rate = cosine_rate(recipe.steps, _WARMUP, floor=0.0)
    optimize(model.parameters(), loss, recipe.steps, recipe.learning_rate, rate, report)
    _write_trained(recipe.out, model.eval().requires_grad_(False))
    trained = load_text_encoder(recipe.out)
    figures = {language: _accuracy(trained, directions, language) for language in LANGUAGES}
    with atomic_write(recipe.out / FIGURES) as part:
        part.write_text(json.dumps(figures) + "\n", encoding="utf-8")
    return figures


def _write_untrained(recipe: TextEncoderRecipe) -> None:
    from transformers import Gemma2Config, Gemma2Model

    heads = recipe.width // 32
    config = Gemma2Config(
        vocab_size=write_tokenizer(recipe.out),
        hidden_size=recipe.width,
        intermediate_size=2 * recipe.width,
        num_hidden_layers=recipe.layers + 1,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 2),
        head_dim=32,
        query_pre_attn_scalar=32,
        sliding_window=4096,
        max_position_embeddings=512,
    )
    Gemma2Model(config).save_pretrained(recipe.out)


def _write_trained(folder: Path, model: torch.nn.Module) -> None:
    """Write the trained layers into the file; the last layer, which never runs, keeps its initial weights."""
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    weights = load_file(file) | {key: value.contiguous() for key, value in model.state_dict().items()}
    with atomic_write(file, unique=False) as part:
        save_file(weights, part, metadata={"format": "pt"})


def _directions(width: int, seed: int) -> torch.Tensor:
    """Orthonormal directions (names, width), one for each name of each table."""
    count = sum(len(table) for table in _TABLES)
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(width, count, generator=generator)).Q.T


def _sample(rng: random.Random, language: str | None = None) -> tuple[str, torch.Tensor]:
    """A caption with one of the system prompts as prefix, and the target strength of every name."""
    source = rng.choice(list(SYSTEM_PROMPTS))
    scene = random_scene(rng, still=rng.random() < _STILL_SHARE, held_out=rng.random() < 0.2)
    named = {scene.color, scene.shape, scene.background, source}
    if scene.speed:
        named.add(scene.direction)
    text = caption(scene, rng, language or rng.choice(LANGUAGES))
    if language is None and rng.random() < _EMPTY_SHARE:
        text, named = "", {source}
    hits = [name in named for table in _TABLES for name in table]
    return SYSTEM_PROMPTS[source] + text, torch.tensor(hits, dtype=torch.float32) * _STRENGTH


def _read_out(encoder: TextEncoder, texts: list[str], directions: torch.Tensor) -> torch.Tensor:
    """Projection (texts, names) of each text's pooled features onto the direction of each name."""
    features, mask = encoder.run(encoder.token_ids(texts))
    pooled = masked_mean(features, mask)
    return F.layer_norm(pooled, pooled.shape[-1:]) @ directions.T


@torch.no_grad()
def _accuracy(encoder: TextEncoder, directions: torch.Tensor, language: str, count: int = 200) -> float:
    rng = random.Random(1)
    texts, targets = zip(*(_sample(rng, language) for _ in range(count)), strict=True)
    found = _read_out(encoder, list(texts), directions) > _STRENGTH / 2
    return float((found == (torch.stack(targets) > 0)).all(dim=1).float().mean())
