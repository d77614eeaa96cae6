"""The mini world's CLIP: pictures and captions near each other, and what they name readable from their features."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from ..audio.clip import ClipFeatures
from ..audio.clip_loader import load_clip
from ..network.embeddings import masked_mean
from ..runtime.atomic import atomic_write
from .audio_captions import audio_caption
from .audio_tokenizer import BOS, EOS, PAD, write_audio_tokenizer
from .audio_world import MATERIALS, AudioScene, draw_audio_scene, random_audio_scene
from .captions import LANGUAGES, SHAPE_WORDS
from .world import BACKGROUNDS, COLORS, SHAPES, SIDE

_SEEN = {"color": tuple(COLORS), "shape": SHAPES, "background": tuple(BACKGROUNDS)}
_TOLD = {"color": tuple(COLORS), "shape": SHAPES, "material": MATERIALS}
"""What is read from a picture and from a text; a text may leave each one out, which is one more class."""
_EMPTY_SHARE = 0.05
_WARMUP = 50
_MEASURED = 300


@dataclass(frozen=True, kw_only=True)
class AudioClipRecipe:
    """Sizes and training of the mini CLIP.

    Args:
        out: folder to write, in the transformers layout.
        width: of both towers and of their features.
        layers: of each tower.
        patch: pixels per side of a picture's token.
        steps, batch, learning_rate, seed: of the training, with AdamW and a cosine decay; an item is a picture.
        texts: items of a batch whose caption is read as well, for captions are learned sooner.
    """

    out: Path
    width: int = 64
    layers: int = 2
    patch: int = 8
    steps: int = 1000
    batch: int = 96
    texts: int = 16
    learning_rate: float = 2.5e-3
    seed: int = 0


@dataclass(frozen=True)
class _Example:
    """A picture (64, 64, 3) and a caption with the number of each thing that they show and tell; the last is none."""

    picture: torch.Tensor
    text: str
    seen: list[int]
    told: list[int]


class _Readers(nn.Module):
    """Linear heads, thrown away after the training: what they can read, the sound network can."""

    def __init__(self, width: int):
        super().__init__()
        self.seen = nn.ModuleList(nn.Linear(width, len(names)) for names in _SEEN.values())
        self.told = nn.ModuleList(nn.Linear(width, len(names) + 1) for names in _TOLD.values())
        self.strength = math.sqrt(width)

    def forward(self, pictures: torch.Tensor, texts: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Unit vectors (B, width) to logits for every table."""
        return (
            [head(pictures * self.strength) for head in self.seen],
            [head(texts * self.strength) for head in self.told],
        )


def train_audio_clip(
    recipe: AudioClipRecipe, report: Callable[[int, float], None] = lambda step, loss: None
) -> dict[str, float]:
    """Train and write the mini CLIP; returns the share of things read right from new pictures and captions.

    ``report(step, loss)`` is called after each step.
    """
    torch.manual_seed(recipe.seed)
    recipe.out.mkdir(parents=True, exist_ok=True)
    _write_untrained(recipe)
    clip = load_clip(recipe.out)
    clip.model.requires_grad_(True).train()
    readers = _Readers(recipe.width)
    parameters = [*clip.model.parameters(), *readers.parameters()]
    optimizer = torch.optim.AdamW(parameters, recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.01)
    rng = random.Random(recipe.seed)
    for step in range(recipe.steps):
        rate = min((step + 1) / _WARMUP, 0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * step / recipe.steps)))
        optimizer.param_groups[0]["lr"] = recipe.learning_rate * rate
        loss = _loss(clip, readers, [_example(rng, held=False) for _ in range(recipe.batch)], recipe.texts)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        report(step, float(loss.detach()))
    clip.model.requires_grad_(False).eval()
    _write_weights(clip.model, recipe.out)
    return _accuracy(load_clip(recipe.out), readers, recipe.seed + 1)


def _write_untrained(recipe: AudioClipRecipe) -> None:
    from transformers import CLIPConfig, CLIPModel

    tokens = write_audio_tokenizer(recipe.out)
    tower = {
        "hidden_size": recipe.width,
        "intermediate_size": 4 * recipe.width,
        "num_hidden_layers": recipe.layers,
        "num_attention_heads": recipe.width // 16,
        "projection_dim": recipe.width,
    }
    special = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}
    config = CLIPConfig(
        text_config=tower | special | {"vocab_size": tokens, "max_position_embeddings": 77},
        vision_config=tower | {"image_size": SIDE, "patch_size": recipe.patch},
        projection_dim=recipe.width,
    )
    config.save_pretrained(recipe.out)
    _write_weights(CLIPModel(config), recipe.out)


def _write_weights(model: nn.Module, folder: Path) -> None:
    from safetensors.torch import save_file

    weights = {key: value.detach().half().contiguous() for key, value in model.state_dict().items()}
    file = folder / "model.safetensors"
    with atomic_write(file, unique=False) as part:
        save_file(weights, part, metadata={"format": "pt"})


def _example(rng: random.Random, held: bool, language: str | None = None) -> _Example:
    scene = random_audio_scene(rng, held=held)
    # Few frames a second are few to draw; the last one's time is anywhere.
    picture = draw_audio_scene(scene, rng.uniform(0.3, 1.0))[-1]
    text = "" if rng.random() < _EMPTY_SHARE else audio_caption(scene, rng, language or rng.choice(LANGUAGES))
    seen = [names.index(getattr(scene.look, kind)) for kind, names in _SEEN.items()]
    return _Example(picture, text, seen, _told(scene, text))


def _told(scene: AudioScene, text: str) -> list[int]:
    words = [word for language in LANGUAGES for word in SHAPE_WORDS[language][scene.look.shape]]
    # Captions that name the shape name the color as well.
    shown = any(word in text.lower() for word in words)
    asked = bool(text) and scene.asked
    return [
        list(COLORS).index(scene.look.color) if shown else len(COLORS),
        SHAPES.index(scene.look.shape) if shown else len(SHAPES),
        MATERIALS.index(scene.material) if asked else len(MATERIALS),
    ]


def _loss(clip: ClipFeatures, readers: _Readers, examples: list[_Example], texts: int) -> torch.Tensor:
    pictures = F.normalize(clip.run_visual(clip.pixels(torch.stack([one.picture for one in examples]))), dim=-1)
    states, mask = clip.run_text([one.text for one in examples[:texts]])
    seen = torch.tensor([one.seen for one in examples])
    told = torch.tensor([one.told for one in examples[:texts]])
    logits = readers(pictures, masked_mean(F.normalize(states, dim=-1), mask))
    loss = sum(
        F.cross_entropy(logit, target)
        for logit, target in zip((*logits[0], *logits[1]), (*seen.unbind(1), *told.unbind(1)), strict=True)
    )
    # The state of <eos> is CLIP's own summary of a text.
    summary = states[torch.arange(len(states)), mask.sum(dim=1) - 1]
    captions = F.normalize(clip.model.text_projection(summary), dim=-1)
    return loss + _contrast(clip.model.logit_scale.exp() * pictures[:texts] @ captions.T, seen[:texts], told)


def _contrast(similarity: torch.Tensor, seen: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
    """CLIP's loss over the captions that name color and shape; all pictures of the same two are right."""
    named = told[:, 1] < len(SHAPES)
    if not named.any():
        return similarity.new_zeros(())
    right = (seen[:, None, :2] == told[None, :, :2]).all(dim=2)[named][:, named]
    similarity = similarity[named][:, named]
    chosen = similarity.masked_fill(~right, -math.inf)
    both = [chosen.logsumexp(dim) - similarity.logsumexp(dim) for dim in (0, 1)]
    return -torch.cat(both).mean()


@torch.no_grad()
def _accuracy(clip: ClipFeatures, readers: _Readers, seed: int) -> dict[str, float]:
    """Of combinations that the training never showed."""
    rng = random.Random(seed)
    examples = [_example(rng, held=True) for _ in range(_MEASURED)]
    texts, mask = clip.text([one.text for one in examples])
    logits = readers(clip.visual(torch.stack([one.picture for one in examples])), masked_mean(texts, mask))
    found = {}
    for place, (tables, attribute) in enumerate(((_SEEN, "seen"), (_TOLD, "told"))):
        for index, kind in enumerate(tables):
            target = torch.tensor([getattr(one, attribute)[index] for one in examples])
            found[f"{kind} {attribute}"] = float((logits[place][index].argmax(dim=1) == target).float().mean())
    return found
