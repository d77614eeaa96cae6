"""A sound training run small enough for tests: random latents and features, and recipes of a tiny network.

As a program it trains recipes, alone or under torchrun: python audio_train_case.py RECIPE.json...
"""

import json
import sys
from pathlib import Path

import torch

from lumina_core import LuminaError
from lumina_core.checkpoints.audio import audio_metadata
from lumina_core.network.audio import AudioNextDiT
from lumina_core.network.audio_config import AudioConfig
from lumina_core.runtime.dataclass_schema import build
from lumina_core.train.audio.recipe import AudioRecipe
from lumina_core.train.audio.shards import AudioItem, AudioShardWriter
from lumina_core.train.audio.trainer import audio_trainer
from lumina_core.train.distributed import init_distributed
from lumina_core.train.initialize import initialize
from lumina_core.train.loop import Trainer
from lumina_core.train.rng import generator

VISUAL, SYNC, TEXT, TOKENS = 12, 6, 10, 5
NETWORK = {
    "channels": 2, "bins": 16, "patch": [2, 8], "dim": 32, "layers": 2, "heads": 4, "kv_heads": 2, "cond_dim": 16,
    "visual_dim": VISUAL, "sync_dim": SYNC, "text_dim": TEXT, "text_tokens": TOKENS,
}  # fmt: skip


def sound_item(index: int, rows: int = 40, **changes) -> AudioItem:
    """Random tensors of a clip of so many rows."""
    numbers = torch.Generator().manual_seed(index)
    fields = {
        "name": f"sound-{index}",
        "caption": f"a bell rings {index}",
        "seconds": rows / 25,
        "mean": torch.randn(2, rows, 16, generator=numbers),
        "std": torch.rand(2, rows, 16, generator=numbers),
        "visual": torch.randn(round(rows / 25 * 8), VISUAL, generator=numbers),
        "sync": torch.randn(-(-rows // 8) - 1, 8, SYNC, generator=numbers),
        "text": torch.randn(2 + index % 3, TEXT, generator=numbers),
        "av_align": index / 10,
    }
    return AudioItem(**fields | changes)


def write_sounds(folder: Path, count: int = 10, first: int = 0, **changes) -> Path:
    with AudioShardWriter(folder) as writer:
        for index in range(first, first + count):
            writer.add(sound_item(index, **changes))
    return folder


def write_network(file: Path) -> Path:
    """A checkpoint all of whose weights are at work."""
    from safetensors.torch import save_file

    config = build(AudioConfig, NETWORK, "The network")
    network = AudioNextDiT(config)
    initialize(network, generator(1))
    numbers = torch.Generator().manual_seed(9)
    weights = {
        name: p.detach() + 0.1 * torch.randn(p.shape, generator=numbers) for name, p in network.named_parameters()
    }
    weights["null_text_mask"] = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0])
    save_file(weights, file, metadata=audio_metadata(config))
    return file


def case(folder: Path, **changes) -> dict:
    """Fields of a recipe that trains into ``folder / "run"``."""
    sounds, network = folder / "sounds", folder / "network.safetensors"
    if not sounds.exists():
        write_sounds(sounds)
    if not network.exists():
        write_network(network)
    fields = {
        "out": str(folder / "run"),
        "steps": 4,
        "start_from": str(network),
        "sources": {"sounds": {"encoded": str(sounds)}},
        "batch": 4,
        "max_rows": 24,
        "drop": {"video": 0.3, "text": 0.3},
        "seed": 3,
        "device": "cpu",
        # The bias of the context's keys changes no softmax; AdamW would blow up the rounding that its gradient is.
        "optimizer": {"learning_rate": 3e-3, "eps": 1e-6, "grad_clip": 0.5},
        "ema": {"decay": 0.5, "every": 1},
        "log_every": 1,
        "save_every": 2,
        "keep": 9,
    }
    fields |= changes
    return {name: value for name, value in fields.items() if value is not None}


def recipe(fields: dict) -> AudioRecipe:
    return build(AudioRecipe, fields, "The recipe")


def train(fields: dict) -> Trainer:
    trainer = audio_trainer(recipe(fields))
    trainer.run()
    return trainer


def main(files: list[str]) -> None:
    """Train recipes one after another; an error of one is printed."""
    torch.set_num_threads(1)
    with init_distributed("cpu") as dist:
        for file in files:
            try:
                audio_trainer(recipe(json.loads(Path(file).read_text(encoding="utf-8"))), dist).run()
            except LuminaError as error:
                print(f"error of process {dist.rank}: {error}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
