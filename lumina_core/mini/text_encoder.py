"""The mini bundle's text encoder: a tiny transformer of Gemma-2's layout, trained to tell what a caption names.

It is not Gemma: it shares the architecture, so that the same loaders take it, and nothing else. Its features are
trained so that their mean over a prompt holds one fixed direction per color, shape, background and direction, which
the video network can read from its first step on.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from ..network.embeddings import masked_mean
from ..runtime.atomic import atomic_write
from ..text.gemma import TextEncoder, load_text_encoder
from .captions import LANGUAGES, caption
from .system_prompts import SYSTEM_PROMPTS
from .tokenizer import write_tokenizer
from .world import BACKGROUNDS, COLORS, DIRECTIONS, SHAPES, random_scene

FIGURES = "trained.json"
"""Written last: the share of new captions that are read back, per language."""
_TABLES = (tuple(COLORS), SHAPES, tuple(BACKGROUNDS), tuple(DIRECTIONS), tuple(SYSTEM_PROMPTS))
_STRENGTH = 3.5
"""Length of each named thing's direction in the normalised mean, whose own length is the root of the width."""
_EMPTY_SHARE = 0.1
_STILL_SHARE = 0.25
_WARMUP = 30


@dataclass(frozen=True, kw_only=True)
class TextEncoderRecipe:
    """Sizes and training of the encoder.

    Args:
        out: folder to write, in the transformers layout.
        width: of the features.
        layers: that are run; one more is in the file, since features are those of the second-last layer.
        steps, batch, learning_rate, seed: of the training, with AdamW and a cosine decay.
    """

    out: Path
    width: int = 128
    layers: int = 2
    steps: int = 600
    batch: int = 64
    learning_rate: float = 2e-3
    seed: int = 0


def train_text_encoder(recipe: TextEncoderRecipe, report=lambda step, loss: None) -> dict[str, float]:
    """Train and write the encoder; returns the share of new captions whose every name is read back, per language.

    ``report(step, loss)`` is called after each step.
    """
    torch.manual_seed(recipe.seed)
    recipe.out.mkdir(parents=True, exist_ok=True)
    _write_untrained(recipe)
    encoder = load_text_encoder(recipe.out)
    model = encoder.model.requires_grad_(True)
    directions = _directions(recipe.width, recipe.seed)
    optimizer = torch.optim.AdamW(model.parameters(), recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    rng = random.Random(recipe.seed)
    for step in range(recipe.steps):
        rate = min((step + 1) / _WARMUP, 0.5 + 0.5 * math.cos(math.pi * step / recipe.steps))
        optimizer.param_groups[0]["lr"] = recipe.learning_rate * rate
        texts, targets = zip(*(_sample(rng) for _ in range(recipe.batch)), strict=True)
        loss = (_read_out(encoder, list(texts), directions) - torch.stack(targets)).pow(2).sum(dim=1).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        report(step, float(loss.detach()))
    _write_trained(recipe.out, model.eval().requires_grad_(False))
    trained = load_text_encoder(recipe.out)
    figures = {language: _accuracy(trained, directions, language) for language in LANGUAGES}
    (recipe.out / FIGURES).write_text(json.dumps(figures) + "\n", encoding="utf-8")
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
    """Put the trained layers into the file; the last layer, which is never run, stays as it was."""
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    weights = load_file(file) | {key: value.contiguous() for key, value in model.state_dict().items()}
    with atomic_write(file, unique=False) as part:
        save_file(weights, part, metadata={"format": "pt"})


def _directions(width: int, seed: int) -> torch.Tensor:
    """(names, width): an orthonormal row for each name of each table."""
    count = sum(len(table) for table in _TABLES)
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(width, count, generator=generator)).Q.T


def _sample(rng: random.Random, language: str | None = None) -> tuple[str, torch.Tensor]:
    """A text behind one of the system prompts, and the strength of every name in it."""
    source = rng.choice(list(SYSTEM_PROMPTS))
    scene = random_scene(rng, still=rng.random() < _STILL_SHARE, held=rng.random() < 0.2)
    named = {scene.color, scene.shape, scene.background, source}
    if scene.speed:
        named.add(scene.direction)
    text = caption(scene, rng, language or rng.choice(LANGUAGES))
    if language is None and rng.random() < _EMPTY_SHARE:
        text, named = "", {source}
    hits = [name in named for table in _TABLES for name in table]
    return SYSTEM_PROMPTS[source] + text, torch.tensor(hits, dtype=torch.float32) * _STRENGTH


def _read_out(encoder: TextEncoder, texts: list[str], directions: torch.Tensor) -> torch.Tensor:
    """How strongly each text's pooled features point along each name's direction, (texts, names)."""
    features, mask = encoder.run(encoder.token_ids(texts))
    pooled = masked_mean(features, mask)
    return F.layer_norm(pooled, pooled.shape[-1:]) @ directions.T


@torch.no_grad()
def _accuracy(encoder: TextEncoder, directions: torch.Tensor, language: str, count: int = 200) -> float:
    rng = random.Random(1)
    texts, targets = zip(*(_sample(rng, language) for _ in range(count)), strict=True)
    found = _read_out(encoder, list(texts), directions) > _STRENGTH / 2
    return float((found == (torch.stack(targets) > 0)).all(dim=1).float().mean())
