"""Write tiny random audio models in their released layouts: network, codec (VAE and vocoder), features (CLIP, sync).

Used by make_tiny_set.py. The audio is noise; lengths, sample rates and files are as with real weights.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lumina_core.audio.synchformer import SyncConfig, SyncEncoder  # noqa: E402
from lumina_core.audio.synchformer_loader import WEIGHTS, save_sync_encoder  # noqa: E402
from lumina_core.checkpoints.audio import CHECKPOINT_NAME, audio_metadata  # noqa: E402
from lumina_core.network.audio import AudioNextDiT  # noqa: E402
from lumina_core.network.audio_config import AudioConfig  # noqa: E402

CHANNELS = 4
VISUAL, SYNC, SIDE = 32, 48, 32
CONFIG = AudioConfig(
    channels=CHANNELS, dim=64, layers=2, heads=4, kv_heads=2, visual_dim=VISUAL, text_dim=VISUAL, sync_dim=SYNC,
    cond_dim=64,
)  # fmt: skip


def write_audio(folder: Path, seed: int, channels: int = CHANNELS) -> Path:
    """Write model.safetensors, codec/ and features/ for latents with this number of channels; returns the folder."""
    write_audio_model(folder / CHECKPOINT_NAME, seed, channels)
    write_codec(folder / "codec", seed + 1, channels)
    write_features(folder / "features", seed + 2)
    return folder


def write_audio_model(file: Path, seed: int, channels: int = CHANNELS, **sizes: int) -> None:
    """Write a network of width 64 with 2 layers; ``sizes`` are further fields of its config."""
    from safetensors.torch import save_file

    config = replace(CONFIG, channels=channels, **sizes)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    network = AudioNextDiT(config)
    weights = _random(network, seed)
    weights["null_text_mask"] = torch.ones_like(weights["null_text_mask"])
    save_file(weights, file, audio_metadata(config))


def write_codec(folder: Path, seed: int, channels: int = CHANNELS) -> None:
    """Write an AutoencoderKL with 8 to 16 channels and a SpeechT5HifiGan with 16, both for 16 kHz as in AudioLDM."""
    from diffusers import AutoencoderKL
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    vae = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 16),
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=4,
        scaling_factor=0.9,
    )
    vae.load_state_dict(_random(vae, seed))
    vae.save_pretrained(folder / "vae")
    vocoder = SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=64,
            sampling_rate=16000,
            upsample_initial_channel=32,
            upsample_rates=[5, 4, 2, 2, 2],
            upsample_kernel_sizes=[16, 16, 8, 4, 4],
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1, 3, 5]],
            normalize_before=False,
        )
    )
    vocoder.load_state_dict(_random(vocoder, seed + 1))
    vocoder.save_pretrained(folder / "vocoder")


def write_features(folder: Path, seed: int) -> None:
    """Write a CLIP for 32 px frames with a tokenizer of letters, and a sync encoder for 32 px frames."""
    _write_clip(folder / "clip", seed)
    encoder = SyncEncoder(SyncConfig(width=SYNC, layers=1, heads=4, mlp=96, side=SIDE))
    encoder.load_state_dict(_random(encoder, seed))
    (folder / "sync").mkdir(parents=True, exist_ok=True)
    save_sync_encoder(encoder, folder / "sync" / WEIGHTS)


def _write_clip(folder: Path, seed: int) -> None:
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    folder.mkdir(parents=True, exist_ok=True)
    words = _write_tokenizer(folder)
    sizes = {"hidden_size": VISUAL, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = CLIPTextConfig(
        vocab_size=words, max_position_embeddings=77, bos_token_id=words - 2, eos_token_id=words - 1, **sizes
    )
    vision = CLIPVisionConfig(image_size=SIDE, patch_size=8, **sizes)
    model = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=VISUAL))
    weights = _random(model, seed)
    model.load_state_dict(weights, strict=False)
    model.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}).save_pretrained(folder)


def _write_tokenizer(folder: Path) -> int:
    """Write a CLIP tokenizer that splits every word into letters; returns the size of its vocabulary."""
    letters = [chr(code) for code in range(33, 127)]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return len(pieces)


def _random(network: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Seeded values for every float parameter, scaled by fan-in; those of norms are near 1."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, like in network.state_dict().items():
        if not like.is_floating_point():
            weights[name] = like
            continue
        noise = torch.randn(like.shape, generator=generator)
        if like.ndim > 1:
            weights[name] = noise / math.sqrt(like[0].numel())
        else:
            weights[name] = ("norm" in name and name.endswith("weight")) + 0.1 * noise
    return weights
