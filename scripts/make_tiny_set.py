"""Write a complete, tiny, random set of Lumina-Video models in their released layouts: network, text encoder and VAE,
the models of Video to Audio, and those of Lumina-Next's images.

For tests and experiments without a download: frames are noise, everything else is as with real weights.
    python scripts/make_tiny_set.py FOLDER
    python scripts/make_tiny_set.py FOLDER --bundle
"""

import argparse
import json
import math
import sys
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from make_tiny_audio import write_audio, write_audio_model, write_codec, write_features  # noqa: E402

from lumina_core.checkpoints.video import LATENT_RGB, VIDEO_METADATA_KEY  # noqa: E402
from lumina_core.mini.autoencoder import write_autoencoder  # noqa: E402
from lumina_core.network.config import VideoConfig  # noqa: E402
from lumina_core.network.image import ImageConfig, ImageNextDiT  # noqa: E402
from lumina_core.network.video import MultiScaleNextDiT  # noqa: E402
from lumina_core.pipelines.bundle import DESCRIPTION  # noqa: E402
from lumina_core.text.gemma import SYSTEM_PROMPT  # noqa: E402
from lumina_core.vae.compact import CompactVAE, CompactVAEConfig  # noqa: E402

TEXT_WIDTH = 48
MODEL_FOLDER = "diffusion_models/lumina-video-tiny"
TEXT_FOLDER = "text_encoders/gemma-2-tiny"
VAE_FOLDER = "vae/cogvideox-tiny"
SOUND_MODEL = "diffusion_models/lumina-sound-tiny.safetensors"
CODEC_FOLDER = "vae/audioldm-tiny"
FEATURES_FOLDER = "clip_vision/v2a-tiny"
IMAGE_MODEL_FOLDER = "diffusion_models/lumina-next-tiny"
IMAGE_TEXT_FOLDER = "text_encoders/gemma-tiny"
IMAGE_TEXT_WIDTH = 40
IMAGE_VAE = "vae/sdxl-tiny.safetensors"
IMAGE_SIDE = 128  # training size of the image network, in pixels
BUNDLE_CHANNELS = 6
BUNDLE = {
    "name": "mini",
    "about": "tiny random weights, for tests",
    "checkpoint": "video",
    "text_encoder": "text_encoder",
    "vae": "vae",
    "sound": "sound",
    "preset": "mini-MultiScale",
    "size": {"width": 64, "height": 64, "frames": 32},
    "fps": 8,
    "motion_range": [0, 6],
    "prompt": "a red bird flies over the sea",
}
# Fields and values that the official train.py saves with every checkpoint (train_exps/f8F32R256/train.sh).
MODEL_ARGS = {
    "model": "MultiScaleNextDiT_2B_GQA",
    "patch_sizes": [2, 2, 4],
    "f_patch_sizes": [1, 2, 2],
    "qk_norm": True,
    "rope_theta": 256.0,
    "t_scale": 1000.0,
    "motion_scale": 20.0,
    "vd_weight": 1.0,
    "precision": "bf16",
    "data_parallel": "sdp",
    "checkpointing": True,
    "compile": True,
    "lr": 2e-4,
    "grad_clip": 2.0,
    "wd": 0.0,
    "max_steps": 1_000_000,
    "global_seed": 20240826,
    "init_from": None,
    "results_dir": "results/f8F32R256",
}
SPECIAL_TOKENS = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
WORDS = "a an the of in on with and to is are at by from over under cat dog bird fish man woman sea sky water fire"


def write_tiny_set(folder: str | Path, seed: int = 0) -> Path:
    """Write the set below `folder` (diffusion_models/, text_encoders/, ...). A seed always gives the same weights.

    Returns the folder.
    """
    folder = Path(folder)
    write_network(folder / MODEL_FOLDER, seed)
    write_text_encoder(folder / TEXT_FOLDER, seed + 1)
    write_vae(folder / VAE_FOLDER, seed + 2)
    write_audio_model(folder / SOUND_MODEL, seed + 3)
    write_codec(folder / CODEC_FOLDER, seed + 4)
    write_features(folder / FEATURES_FOLDER, seed + 5)
    write_image_network(folder / IMAGE_MODEL_FOLDER, seed + 6)
    write_text_encoder(folder / IMAGE_TEXT_FOLDER, seed + 7, first=True)
    write_image_vae(folder / IMAGE_VAE, seed + 8)
    return folder


def write_bundle(folder: str | Path, seed: int = 0) -> Path:
    """Write a bundle in the layout of the one that ships with the pack, with random weights; returns the folder."""
    folder = Path(folder)
    generator = torch.Generator().manual_seed(seed)
    latent_rgb = torch.rand(BUNDLE_CHANNELS, 3, generator=generator).tolist()
    _write_weights(folder / "video", seed, {VIDEO_METADATA_KEY: json.dumps({LATENT_RGB: latent_rgb})}, BUNDLE_CHANNELS)
    write_text_encoder(folder / "text_encoder", seed + 1)
    vae = CompactVAE(CompactVAEConfig(latent_channels=BUNDLE_CHANNELS, wide=16, narrow=8, depth=1))
    # The latent scale is kept: a random standard deviation could be negative.
    weights = random_weights(vae.state_dict(), seed + 2)
    vae.load_state_dict({name: value for name, value in weights.items() if ".range." not in name}, strict=False)
    write_autoencoder(vae, folder / "vae")
    write_audio(folder / "sound", seed + 3)
    (folder / DESCRIPTION).write_text(json.dumps(BUNDLE, indent=2) + "\n", encoding="utf-8")
    return folder


def write_network(folder: Path, seed: int) -> None:
    """Write a video network of width 64: consolidated.00-of-01.safetensors and model_args.pth."""
    _write_weights(folder, seed)
    torch.save(argparse.Namespace(**MODEL_ARGS), folder / "model_args.pth")


def _write_weights(folder: Path, seed: int, metadata: dict[str, str] | None = None, channels: int = 16) -> None:
    from safetensors.torch import save_file

    config = VideoConfig(
        dim=64, layers=2, heads=4, kv_heads=2, ffn_hidden=256, text_dim=TEXT_WIDTH, cond_dim=64, channels=channels
    )
    with torch.device("meta"):
        shapes = MultiScaleNextDiT(config).state_dict()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(random_weights(shapes, seed), folder / "consolidated.00-of-01.safetensors", metadata)


def write_image_network(folder: Path, seed: int) -> None:
    """Write a Lumina-Next of width 64 in its released layout: consolidated.00-of-01.safetensors and model_args.pth."""
    from safetensors.torch import save_file

    config = ImageConfig(dim=64, layers=2, heads=4, kv_heads=2, ffn_hidden=128, text_dim=IMAGE_TEXT_WIDTH, cond_dim=64)
    with torch.device("meta"):
        shapes = ImageNextDiT(config).state_dict()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(random_weights(shapes, seed), folder / "consolidated.00-of-01.safetensors")
    settings = {"model": "NextDiT_2B_GQA_patch2", "qk_norm": True, "image_size": IMAGE_SIDE, "vae": "sdxl"}
    torch.save(argparse.Namespace(**settings), folder / "model_args.pth")


def write_image_vae(file: Path, seed: int) -> None:
    """Write the decoder of a VAE with SDXL's 4 channels and compression, in TAESD's layout, which the hosts read."""
    from safetensors.torch import save_file

    blocks, plain, wide = (3, 4, 5, 8, 9, 10, 13, 14, 15, 18), (7, 12, 17), 64
    shapes = {"1.weight": (wide, 4, 3, 3), "1.bias": (wide,), "19.weight": (3, wide, 3, 3), "19.bias": (3,)}
    shapes |= {f"{index}.weight": (wide, wide, 3, 3) for index in plain}
    for name in (f"{index}.conv.{layer}" for index in blocks for layer in (0, 2, 4)):
        shapes |= {f"{name}.weight": (wide, wide, 3, 3), f"{name}.bias": (wide,)}
    file.parent.mkdir(parents=True, exist_ok=True)
    likes = {f"taesd_decoder.{name}": torch.empty(shape, device="meta") for name, shape in shapes.items()}
    save_file(random_weights(likes, seed), file)


def write_text_encoder(folder: Path, seed: int, first: bool = False) -> None:
    """Write a Gemma-2, or a first-generation Gemma, with 4 layers and a tokenizer for any text."""
    from transformers import Gemma2Config, Gemma2Model, GemmaConfig, GemmaModel

    folder.mkdir(parents=True, exist_ok=True)
    sizes = {
        "vocab_size": _write_tokenizer(folder),
        "hidden_size": IMAGE_TEXT_WIDTH if first else TEXT_WIDTH,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 512,
    }
    if first:
        model = GemmaModel(GemmaConfig(hidden_act="gelu_pytorch_tanh", **sizes))
    else:
        model = Gemma2Model(Gemma2Config(query_pre_attn_scalar=16, sliding_window=4096, **sizes))
    weights = random_weights(model.state_dict(), seed)
    # Gemma's RMSNorm adds 1 to its weight.
    weights = {key: value - 1 if "norm" in key else value for key, value in weights.items()}
    model.load_state_dict(weights)
    model.save_pretrained(folder)


def write_vae(folder: Path, seed: int) -> None:
    """Write a CogVideoX VAE with 8 channels and the released compression: 4 in time, 8 in space, 16 latent channels."""
    from diffusers import AutoencoderKLCogVideoX

    model = AutoencoderKLCogVideoX(
        block_out_channels=(8, 8, 8, 8), norm_num_groups=4, layers_per_block=1, sample_height=64, sample_width=64
    )
    model.load_state_dict(random_weights(model.state_dict(), seed))
    model.save_pretrained(folder)


def random_weights(shapes: dict[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """Seeded float32 values for every name and shape: 1 + 0.1 n for norms, scaled by fan-in for the rest.

    Fan-in scaling keeps activations near 1, so that a guidance of 20 stays finite.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, like in shapes.items():
        noise = torch.randn(like.shape, generator=generator)
        if like.ndim > 1:
            weights[name] = noise / math.sqrt(like[0].numel())
        elif "norm" in name and name.endswith("weight"):
            weights[name] = 1 + 0.1 * noise
        else:
            weights[name] = 0.1 * noise
    return weights


def _write_tokenizer(folder: Path) -> int:
    """Write a tokenizer in Gemma's layout (special tokens 0..4, BPE, byte fallback, BOS first).

    The words of the system prompt are whole tokens, so that prompts fit into 256 tokens. Returns the vocabulary size.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, processors

    letters = [chr(code) for code in range(33, 127)] + ["▁"]
    pieces = SPECIAL_TOKENS + [f"<0x{byte:02X}>" for byte in range(256)] + letters
    merges = []
    for word in f"{SYSTEM_PROMPT}{WORDS}".split():
        # Every merge extends a prefix of the word by one letter, so the longest known prefix always wins.
        for end in range(1, len(word) + 1):
            pair = ("▁" + word[: end - 1], word[end - 1])
            if pair not in merges:
                merges.append(pair)
                pieces.append("".join(pair))
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing("<bos> $A", "<bos> $A <bos> $B", [("<bos>", 2)])
    tokenizer.add_special_tokens(SPECIAL_TOKENS)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "GemmaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 10**30,
        **{f"{name}_token": f"<{name}>" for name in ("pad", "eos", "bos", "unk")},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return len(vocabulary)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a complete set of tiny random Lumina-Video models.")
    parser.add_argument("folder", type=Path, help="where to put diffusion_models/, text_encoders/ and so on")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other weights (default 0)")
    parser.add_argument("--bundle", action="store_true", help="write one bundle of the shipped one's layout instead")
    arguments = parser.parse_args()
    write = write_bundle if arguments.bundle else write_tiny_set
    print(write(arguments.folder, arguments.seed))


if __name__ == "__main__":
    main()
