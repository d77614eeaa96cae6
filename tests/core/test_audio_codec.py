"""The codec: lengths, layouts, and files that are not one."""

import json
import re
import shutil

import pytest
import torch
from audio_case import tone, write_tiny_codec
from refusals import refused
from safetensors.torch import load_file, save_file

from lumina_core.audio.codec_loader import load_audio_codec, read_codec_channels
from lumina_core.errors import LuminaError
from lumina_core.shapes.audio_rates import latent_frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_codec(tmp_path_factory.mktemp("codec"))


@pytest.fixture(scope="module")
def codec(folder):
    return load_audio_codec(folder)


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "codec")


@pytest.mark.parametrize("seconds", [0.5, 0.51, 1.0, 3.999, 8.0, 20.0])
def test_lengths_are_exact(codec, seconds):
    wave = tone(440, seconds)
    latents = codec.encode(wave)
    rows = latent_frames(seconds)
    assert latents.shape == (1, 4, rows, 16) and rows % 2 == 0
    assert rows * 640 >= wave.shape[1] > (rows - 2) * 640
    assert codec.decode(latents).shape == (1, 1, 4 * rows, 64)
    assert codec.to_waveform(latents, wave.shape[1]).shape == wave.shape


def test_latents_are_those_of_the_library(codec, folder, random):
    """Scaled by the config's factor, from the mel spectrogram, time first."""
    from diffusers import AutoencoderKL
    from transformers import SpeechT5HifiGan

    from lumina_core.audio.mel import log_mel

    vae = AutoencoderKL.from_pretrained(folder / "vae")
    vocoder = SpeechT5HifiGan.from_pretrained(folder / "vocoder")
    wave = random(2, 12800) * 0.1
    with torch.no_grad():
        found = vae.encode(log_mel(wave)).latent_dist
        assert torch.allclose(codec.encode(wave), found.mean * 0.9, atol=1e-5)
        mean, std = codec.posterior(wave)
        assert torch.allclose(std, found.std * 0.9, atol=1e-5)
        mel = vae.decode(mean / 0.9).sample
        assert torch.allclose(codec.decode(mean), mel, atol=1e-4)
        assert torch.allclose(codec.to_waveform(mean, 12000), vocoder(mel[:, 0])[:, :12000], atol=1e-5)


def original_name(key, levels=3):
    """diffusers' names back into AudioLDM's."""
    key = re.sub(r"down_blocks\.(\d)\.resnets\.", r"down.\1.block.", key)
    key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0\.", r"down.\1.downsample.", key)
    key = re.sub(r"up_blocks\.(\d)\.resnets\.", lambda m: f"up.{levels - 1 - int(m[1])}.block.", key)
    key = re.sub(r"up_blocks\.(\d)\.upsamplers\.0\.", lambda m: f"up.{levels - 1 - int(m[1])}.upsample.", key)
    key = re.sub(r"mid_block\.resnets\.(\d)\.", lambda m: f"mid.block_{int(m[1]) + 1}.", key)
    key = key.replace("mid_block.attentions.0.group_norm.", "mid.attn_1.norm.")
    key = key.replace("mid_block.attentions.0.to_out.0.", "mid.attn_1.proj_out.")
    key = re.sub(r"mid_block\.attentions\.0\.to_([qkv])\.", r"mid.attn_1.\1.", key)
    return key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")


def original(folder):
    """The folder's weights as AudioLDM's single file holds them, with parts that are not the codec's."""
    weights = {"scale_factor": torch.tensor(0.9), "model.diffusion_model.x": torch.zeros(2)}
    for key, value in load_file(folder / "vae" / "diffusion_pytorch_model.safetensors").items():
        if ".to_" in key and key.endswith("weight"):
            value = value[..., None, None]
        weights[f"first_stage_model.{original_name(key)}"] = value
    for key, value in load_file(folder / "vocoder" / "model.safetensors").items():
        if key not in ("mean", "scale"):
            weights[f"first_stage_model.vocoder.{key.replace('upsampler.', 'ups.')}"] = value
    return weights


@pytest.fixture(scope="module")
def grouped(tmp_path_factory):
    """A codec whose norms have as many groups as the original's rule gives its narrow layers."""
    folder = write_tiny_codec(tmp_path_factory.mktemp("grouped"))
    file = folder / "vae" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"norm_num_groups": 8}))
    file = folder / "vocoder" / "config.json"
    return folder


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_the_single_file_is_the_same_codec(grouped, tmp_path, random, suffix):
    weights, file = original(grouped), tmp_path / f"audioldm{suffix}"
    if suffix == ".ckpt":
        torch.save({"state_dict": weights, "epoch": 3}, file)
    else:
        save_file(weights, file)
    assert read_codec_channels(file) == 4
    alone, parts = load_audio_codec(file), load_audio_codec(grouped)
    wave = random(1, 6400) * 0.1
    latents = parts.encode(wave)
    assert torch.allclose(alone.encode(wave), latents, atol=1e-5)
    assert torch.allclose(alone.to_waveform(latents, 6400), parts.to_waveform(latents, 6400), atol=1e-5)


def test_old_names_of_attention_are_read(copy, codec, random):
    file = copy / "vae" / "diffusion_pytorch_model.safetensors"
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = load_file(file)
    for new, old in names.items():
        for key in [key for key in weights if f".{new}." in key]:
            weights[key.replace(f".{new}.", f".{old}.")] = weights.pop(key)
    save_file(weights, file)
    wave = random(1, 6400)
    assert torch.equal(load_audio_codec(copy).encode(wave), codec.encode(wave))


def test_a_vocoder_without_weights(copy):
    shutil.rmtree(copy / "vocoder")
    (copy / "vocoder").mkdir()
    (copy / "vocoder" / "config.json").write_text('{"_class_name": "GriffinLim", "iterations": 4}')
    assert read_codec_channels(copy) == 4
    codec = load_audio_codec(copy)
    assert codec.vocoder.iterations == 4
    assert codec.to_waveform(torch.zeros(2, 4, 20, 16), 12345).shape == (2, 12345)


def config(part, **changes):
    def change(folder):
        file = folder / part / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def without(name):
    return lambda folder: (folder / name).unlink()


def truncated(folder):
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-50])


def spoiled(folder):
    file = folder / "vocoder" / "model.safetensors"
    weights = load_file(file)
    weights["conv_pre.bias"][0] = float("nan")
    save_file(weights, file)


@pytest.mark.parametrize(
    "change, fact",
    [
        (config("vae", in_channels=3), "AutoencoderKL"),
        (config("vae", block_out_channels=[8, 16]), "[8, 16]"),
        (config("vae", latent_channels=8), "diffusion_pytorch_model.safetensors"),
        (config("vae", latent_channels=None), "latent_channels"),
        (config("vae", layers_per_block=2), "diffusion_pytorch_model.safetensors"),
        (config("vocoder", model_in_dim=80), "80 mel bins"),
        (config("vocoder", sampling_rate=22050), "22050 Hz"),
        (config("vocoder", upsample_rates=[5, 4, 2, 2, 4]), "320 samples"),
        (without("vae/diffusion_pytorch_model.safetensors"), "diffusion_pytorch_model.safetensors"),
        (without("vocoder/model.safetensors"), "model.safetensors"),
        (without("vocoder/config.json"), "vocoder/config.json"),
        (lambda folder: (folder / "vae" / "config.json").write_text("{"), "config.json"),
        (lambda folder: (folder / "vae" / "config.json").write_text("[]"), "config.json"),
        (truncated, "diffusion_pytorch_model.safetensors"),
        (spoiled, "conv_pre.bias"),
    ],
)
def test_what_is_no_codec_is_told(copy, change, fact):
    change(copy)
    with pytest.raises(LuminaError) as caught:
        load_audio_codec(copy)
    assert fact in str(caught.value)


def test_single_files_that_are_no_codec_are_told(folder, tmp_path):
    with refused("codec", "missing"):
        load_audio_codec(tmp_path / "none")
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with refused("codec", "mismatch"):
        read_codec_channels(tmp_path / "x.safetensors")
    weights = original(folder)
    del weights["first_stage_model.post_quant_conv.weight"]
    save_file(weights, tmp_path / "y.safetensors")
    with refused("codec", "file", "post_quant_conv.weight"):
        load_audio_codec(tmp_path / "y.safetensors")
    torch.save({"state_dict": weights, "hook": print}, tmp_path / "z.ckpt")
    with refused("file", "file", "z.ckpt"):
        load_audio_codec(tmp_path / "z.ckpt")


@pytest.mark.parametrize(
    "call, field, kind, fact",
    [
        (lambda codec: codec.decode(torch.zeros(1, 8, 10, 16)), "latents", "mismatch", "(1, 8, 10, 16)"),
        (lambda codec: codec.to_waveform(torch.zeros(1, 4, 10, 16), 6401), "samples", "value", "6401"),
        (lambda codec: codec.to_waveform(torch.zeros(1, 4, 10, 16), 0), "samples", "value", "6400"),
        (lambda codec: codec.encode(torch.zeros(16000)), "waveform", "value", "(16000,)"),
        (lambda codec: codec.encode(torch.zeros(1, 100)), "waveform", "value", "640 samples"),
        (lambda codec: codec.encode(torch.full((1, 6400), float("nan"))), "waveform", "numerics", "NaN"),
    ],
)
def test_wrong_tensors_are_told(codec, call, field, kind, fact):
    with refused(field, kind, fact):
        call(codec)
