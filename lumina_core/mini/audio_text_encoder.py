"""Trains the mini world's CLIP with a contrastive loss, and linear probes on what images and captions show."""

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
from .optimize import cosine_rate, optimize
from .world import BACKGROUNDS, COLORS, SHAPES, SIDE

# Classes that are probed in an image and in a caption. A caption may omit each one, which is one more class.
_IMAGE_CLASSES = {"color": tuple(COLORS), "shape": SHAPES, "background": tuple(BACKGROUNDS)}
_TEXT_CLASSES = {"color": tuple(COLORS), "shape": SHAPES, "material": MATERIALS}
_EMPTY_SHARE = 0.05  # share of empty captions
_WARMUP = 50  # steps
_MEASURED = 300  # held-out samples


@dataclass(frozen=True, kw_only=True)
class AudioClipRecipe:
    """Sizes and training of the mini CLIP.

    Args:
        out: folder to write, in the transformers layout.
        width: width of both towers and of their features.
        layers: layers of each tower.
        patch: pixels per side of an image token.
        steps: training steps with AdamW and a cosine decay.
        batch: images per step.
        texts: images of a batch whose caption is used too; fewer, because captions are learned faster.
        learning_rate: highest learning rate.
        seed: random seed.
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
    """An image (64, 64, 3) in 0..1, its caption, and the class indices of both."""

    image: torch.Tensor
    text: str
    image_labels: list[int]
    text_labels: list[int]


class _Probes(nn.Module):
    """Linear heads that are discarded after training. What is linearly readable is usable for the audio network."""

    def __init__(self, width: int):
        super().__init__()
        self.image = nn.ModuleList(nn.Linear(width, len(names)) for names in _IMAGE_CLASSES.values())
        self.text = nn.ModuleList(nn.Linear(width, len(names) + 1) for names in _TEXT_CLASSES.values())
        self.strength = math.sqrt(width)

    def forward(self, images: torch.Tensor, texts: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Logits of each class table for unit vectors (B, width)."""
        return (
            [head(images * self.strength) for head in self.image],
            [head(texts * self.strength) for head in self.text],
        )


def train_audio_clip(
    recipe: AudioClipRecipe, report: Callable[[int, float], None] = lambda step, loss: None
) -> dict[str, float]:
    """Train and write the mini CLIP.

    Args:
        recipe: sizes and training.
        report: called with step and loss after each step.

    Returns:
        Accuracy of each probe on held-out images and captions, 0 to 1.
    """
    torch.manual_seed(recipe.seed)
    recipe.out.mkdir(parents=True, exist_ok=True)
    _write_untrained(recipe)
    clip = load_clip(recipe.out)
    clip.model.requires_grad_(True).train()
    probes = _Probes(recipe.width)
    parameters = [*clip.model.parameters(), *probes.parameters()]
    rng = random.Random(recipe.seed)

    def loss() -> torch.Tensor:
        return _loss(clip, probes, [_example(rng, held_out=False) for _ in range(recipe.batch)], recipe.texts)

    rate = cosine_rate(recipe.steps, _WARMUP)
    optimize(parameters, loss, recipe.steps, recipe.learning_rate, rate, report, weight_decay=0.01)
    clip.model.requires_grad_(False).eval()
    _write_weights(clip.model, recipe.out)
    return _accuracy(load_clip(recipe.out), probes, recipe.seed + 1)


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


def _example(rng: random.Random, held_out: bool, language: str | None = None) -> _Example:
    scene = random_audio_scene(rng, held_out=held_out)
    # A low frame rate keeps drawing cheap, and a random one puts the last frame at a random time.
    image = draw_audio_scene(scene, rng.uniform(0.3, 1.0))[-1]
    text = "" if rng.random() < _EMPTY_SHARE else audio_caption(scene, rng, language or rng.choice(LANGUAGES))
    labels = [names.index(getattr(scene.visual, kind)) for kind, names in _IMAGE_CLASSES.items()]
    return _Example(image, text, labels, _text_labels(scene, text))


def _text_labels(scene: AudioScene, text: str) -> list[int]:
    """Class indices of a caption; the last index of each table means that the caption omits it."""
    words = [word for language in LANGUAGES for word in SHAPE_WORDS[language][scene.visual.shape]]
    # Captions that name the shape also name the color.
    named = any(word in text.lower() for word in words)
    material = bool(text) and scene.names_material
    return [
        list(COLORS).index(scene.visual.color) if named else len(COLORS),
        SHAPES.index(scene.visual.shape) if named else len(SHAPES),
        MATERIALS.index(scene.material) if material else len(MATERIALS),
    ]


def _loss(clip: ClipFeatures, probes: _Probes, examples: list[_Example], texts: int) -> torch.Tensor:
    images = F.normalize(clip.run_visual(clip.pixels(torch.stack([one.image for one in examples]))), dim=-1)
    states, mask = clip.run_text([one.text for one in examples[:texts]])
    image_labels = torch.tensor([one.image_labels for one in examples])
    text_labels = torch.tensor([one.text_labels for one in examples[:texts]])
    logits = probes(images, masked_mean(F.normalize(states, dim=-1), mask))
    targets = (*image_labels.unbind(1), *text_labels.unbind(1))
    loss = sum(F.cross_entropy(*pair) for pair in zip((*logits[0], *logits[1]), targets, strict=True))
    # CLIP pools a text at <eos>.
    summary = states[torch.arange(len(states)), mask.sum(dim=1) - 1]
    captions = F.normalize(clip.model.text_projection(summary), dim=-1)
    similarity = clip.model.logit_scale.exp() * images[:texts] @ captions.T
    return loss + _contrast(similarity, image_labels[:texts], text_labels)


def _contrast(similarity: torch.Tensor, image_labels: torch.Tensor, text_labels: torch.Tensor) -> torch.Tensor:
    """CLIP's contrastive loss over captions that name color and shape; all images with the same two are positives."""
    named = text_labels[:, 1] < len(SHAPES)
    if not named.any():
        return similarity.new_zeros(())
    positive = (image_labels[:, None, :2] == text_labels[None, :, :2]).all(dim=2)[named][:, named]
    similarity = similarity[named][:, named]
    chosen = similarity.masked_fill(~positive, -math.inf)
    both = [chosen.logsumexp(dim) - similarity.logsumexp(dim) for dim in (0, 1)]
    return -torch.cat(both).mean()


@torch.no_grad()
def _accuracy(clip: ClipFeatures, probes: _Probes, seed: int) -> dict[str, float]:
    """Accuracy of each probe on held-out combinations; the keys are those of trained.json."""
    rng = random.Random(seed)
    examples = [_example(rng, held_out=True) for _ in range(_MEASURED)]
    texts, mask = clip.text([one.text for one in examples])
    logits = probes(clip.visual(torch.stack([one.image for one in examples])), masked_mean(texts, mask))
    labels = ([one.image_labels for one in examples], [one.text_labels for one in examples])
    found = {}
    for side, (tables, suffix) in enumerate(((_IMAGE_CLASSES, "seen"), (_TEXT_CLASSES, "told"))):
        for index, kind in enumerate(tables):
            target = torch.tensor([each[index] for each in labels[side]])
            found[f"{kind} {suffix}"] = float((logits[side][index].argmax(dim=1) == target).float().mean())
    return found
