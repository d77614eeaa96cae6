"""A training run small enough for tests: random latents with captions, and recipes on the tiny model set.

As a program it trains recipes, alone or under torchrun: python train_case.py RECIPE.json...
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from lumina_core import LuminaError
from lumina_core.runtime.dataclass_schema import build
from lumina_core.train.distributed import init_distributed
from lumina_core.train.loop import Trainer
from lumina_core.train.recipe import Recipe
from lumina_core.train.shards import ShardWriter
from lumina_core.train.video import video_trainer

CHANNELS = 16
NETWORK = {
    "channels": CHANNELS, "dim": 64, "layers": 2, "heads": 4, "kv_heads": 2, "ffn_hidden": 80, "cond_dim": 32,
}  # fmt: skip
TASKS = {
    "fine": {"patch": "1x2", "batch": 4, "time_shift": 2},
    "coarse": {"patch": "2x4", "batch": 4, "time_shift": 8, "micro_batch": 1, "ratio": 2},
}


def write_clips(folder: Path, count: int = 10) -> Path:
    numbers = torch.Generator().manual_seed(5)
    with ShardWriter(folder) as writer:
        for index in range(count):
            latents = torch.randn(CHANNELS, 2, 4, 8, generator=numbers)
            writer.add(f"clip-{index}", "video", f"a cat on the sea {index}", index / 2, latents, 8.0)
    return folder


def case(tiny_set, folder: Path, **changes) -> dict:
    """Fields of a recipe that trains into ``folder / "run"``."""
    clips = folder / "clips"
    if not clips.exists():
        write_clips(clips)
    fields = {
        "out": str(folder / "run"),
        "steps": 4,
        "text_encoder": str(tiny_set.text),
        "sources": {"clips": {"encoded": str(clips)}},
        "tasks": TASKS,
        "network": NETWORK,
        "seed": 3,
        "device": "cpu",
        "optimizer": {"learning_rate": 3e-3, "eps": 1e-8, "grad_clip": 0.5},
        "ema": {"decay": 0.5, "every": 1},
        "log_every": 1,
        "save_every": 2,
        "keep": 9,
    }
    fields |= changes
    return {name: value for name, value in fields.items() if value is not None}


def recipe(fields: dict) -> Recipe:
    return build(Recipe, fields, "The recipe")


def train(fields: dict) -> Trainer:
    trainer = video_trainer(recipe(fields))
    trainer.run()
    return trainer


def state(fields: dict, step: int) -> dict[str, dict[str, torch.Tensor]]:
    """Tensors by file name of a saved state."""
    folder = Path(fields["out"]) / f"step-{step:07d}"
    return {file.name: load_file(file) for file in sorted(folder.glob("*.safetensors"))}


def main(files: list[str]) -> None:
    """Train recipes one after another; an error of one is printed."""
    torch.set_num_threads(1)
    with init_distributed("cpu") as dist:
        for file in files:
            try:
                video_trainer(recipe(json.loads(Path(file).read_text(encoding="utf-8"))), dist).run()
            except LuminaError as error:
                print(f"error of process {dist.rank}: {error}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
