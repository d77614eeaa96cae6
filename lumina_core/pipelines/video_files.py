"""The files of a text-to-video model, checked from their headers before any weights are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..checkpoints.lora import LoraChoice, check_lora
from ..checkpoints.video import Checkpoint
from ..errors import LuminaError
from ..text.gemma import read_text_width
from ..vae.loader import read_vae_channels


@dataclass(frozen=True, kw_only=True)
class VideoFiles:
    """Where the networks of a pipeline are.

    Args:
        checkpoint: folder in the released layout, or one .safetensors or .pth file.
        text_encoder: Gemma-2 in the transformers layout.
        vae: vae folder of CogVideoX-2b or of a bundle, or one .safetensors file.
        loras: LoRA files that are applied to the checkpoint, in order.
    """

    checkpoint: Path
    text_encoder: Path
    vae: Path
    loras: tuple[LoraChoice, ...] = ()

    def open(self) -> Checkpoint:
        """The opened checkpoint, after checking from headers that all files fit together.

        Raises:
            LuminaError: a file is missing or damaged, or two files do not fit together.
        """
        for name, path in (("text encoder", self.text_encoder), ("VAE", self.vae)):
            if not path.exists():
                raise LuminaError(
                    f"The {name} '{path}' does not exist; give the path of its files.",
                    field=name.lower().replace(" ", "_"),
                    kind="missing",
                )
        opened = Checkpoint.open(self.checkpoint)
        config = opened.config
        config.check_text_width(read_text_width(self.text_encoder))
        config.check_channels(read_vae_channels(self.vae))
        for lora in self.loras:
            check_lora(config, lora)
        return opened


def lora_choices(loras: Sequence[LoraChoice | str | Path | tuple[str | Path, float]]) -> tuple[LoraChoice, ...]:
    """LoRA files in any of their forms: a path has strength 1, and a pair has path and strength."""
    return tuple(
        lora
        if isinstance(lora, LoraChoice)
        else LoraChoice(Path(lora[0]), float(lora[1]))
        if isinstance(lora, tuple)
        else LoraChoice(Path(lora))
        for lora in loras
    )
