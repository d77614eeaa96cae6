"""Lumina-Next files of both layouts, good and bad, and checkpoints of other kinds told by their names."""

from __future__ import annotations

import argparse
from dataclasses import replace

import golden
import pytest
import torch
from image_case import DIM, SIDE, TEXT, reference
from refusals import refused
from safetensors.torch import load_file, save_file

from lumina_core import LuminaError, load_video_model
from lumina_core.checkpoints.detect import IMAGE, KINDS, kind_of
from lumina_core.checkpoints.image import ImageCheckpoint, load_image_model
from lumina_core.checkpoints.video import ARGS_NAME, read_video_config
from lumina_core.shapes.latents import LatentSize
from scripts.make_tiny_audio import write_audio_model

RELEASED = "consolidated.00-of-01.safetensors"
DIFFUSERS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as diffusers writes it; read only."""
    path = tmp_path_factory.mktemp("diffusers")
    reference(2).save_pretrained(path / "transformer")
    return path


@pytest.fixture(scope="module")
def network(folder):
    return load_image_model(folder)


@pytest.fixture
def save(tmp_path, network):
    """save(**changes): a released file with some keys changed (None drops one); returns its path."""

    def write(name=RELEASED, **changes):
        weights = {key: value for key, value in {**network.state_dict(), **changes}.items() if value is not None}
        save_file({key: value.contiguous() for key, value in weights.items()}, tmp_path / name)
        return tmp_path / name

    return write


def equal(one, other) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def refusal(path) -> str:
    with pytest.raises(LuminaError) as caught:
        load_image_model(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_sizes_come_from_the_shapes(network, folder):
    config = network.config
    assert (config.dim, config.layers, config.heads, config.kv_heads) == (DIM, 2, 4, 2)
    assert (config.channels, config.text_dim, config.cond_dim, config.learn_sigma) == (4, TEXT, DIM, True)
    assert config.train_size == LatentSize(1, SIDE, SIDE)
    weights = load_file(folder / DIFFUSERS)
    assert len(weights) == len(network.state_dict()) + 2 * 3, "the queries of each layer are there twice"
    assert torch.equal(network.layers[1].attention.wv_y.weight, weights["layers.1.attn2.to_v.weight"])
    assert not network.training and not any(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("place", ["", "transformer", DIFFUSERS])
def test_folder_and_file_of_diffusers(network, folder, place):
    assert equal(load_image_model(folder / place), network)


@pytest.mark.parametrize("name", [RELEASED, "consolidated_ema.00-of-01.safetensors", "any.safetensors"])
def test_released_layout_is_the_same_network(network, save, name):
    file = save(name)
    assert equal(load_image_model(file), network)
    if name != "any.safetensors":
        assert equal(load_image_model(file.parent), network)


def test_pth_and_the_prefixes_of_tools(network, tmp_path):
    weights = {f"model.diffusion_model.{key}": value for key, value in network.state_dict().items()}
    torch.save(weights, tmp_path / "consolidated.00-of-01.pth")
    assert equal(load_image_model(tmp_path), network)


def test_an_opened_file_is_loaded_with_another_configuration_and_not_after_a_change(network, save):
    opened = ImageCheckpoint.open(file := save("any.safetensors"))
    config = replace(opened.config, guided_channels=3)
    model = load_image_model(opened, config=config)
    assert equal(model, network) and model.config == config
    save_file({"x_embedder.weight": torch.zeros(2, 2)}, file)
    with pytest.raises(LuminaError, match="has changed since it was opened"):
        load_image_model(opened)


@pytest.mark.parametrize(("settings", "side"), [({"image_size": 512}, 64), ({}, 128), (None, 128)])
def test_trained_size_comes_from_the_settings_beside(save, tmp_path, settings, side):
    file = save()
    if settings is not None:
        torch.save(argparse.Namespace(qk_norm=True, **settings), tmp_path / ARGS_NAME)
    assert load_image_model(file).config.train_size == LatentSize(1, side, side)


@pytest.mark.parametrize("text", ["{", "[]", '{"sample_size": "large"}', '{"sample_size": 0}'])
def test_broken_settings_are_told(save, tmp_path, text):
    file = save()
    (tmp_path / "config.json").write_text(text)
    assert "give no size of the training images; download them again" in refusal(file)


def test_settings_of_another_kind_are_told(save, tmp_path):
    file = save()
    torch.save(argparse.Namespace(image_size="large"), tmp_path / ARGS_NAME)
    assert "give no size of the training images; download them again" in refusal(file)


def test_missing_unexpected_and_misshapen_keys_are_named(save):
    told = refusal(save(**{"layers.1.ffn_norm2.weight": None, "extra": torch.zeros(2), "pad_token": torch.zeros(3)}))
    assert f"{RELEASED} does not fit a Lumina-Next of width {DIM} and 2 layers" in told
    for part in ("1 missing (layers.1.ffn_norm2.weight)", "1 unexpected (extra)", "1 of a different shape (pad_token)"):
        assert part in told


def test_the_same_for_diffusers_keys(folder, tmp_path):
    weights = load_file(folder / DIFFUSERS)
    file = tmp_path / "x.safetensors"
    save_file({key: value for key, value in weights.items() if "attn1.to_k" not in key}, file)
    assert "2 missing (layers.0.attention.wk.weight, layers.1.attention.wk.weight)" in refusal(file)
    weights["layers.1.attn2.to_q.weight"] += 1
    save_file(weights, file)
    assert "x.safetensors has two different values of layers.1.attention.wq.weight" in refusal(file)


def test_other_faults_are_told(save, tmp_path):
    assert "holds no Lumina-Next weights, such as consolidated.00-of-01.safetensors" in refusal(tmp_path)
    assert "holds NaN or infinite values in pad_token" in refusal(save(pad_token=torch.full((DIM,), torch.nan)))
    nameless = refusal(save(**{"x_embedder.weight": None}))
    assert "is not a Lumina-Next checkpoint; expected keys such as x_embedder" in nameless
    assert "is not a Lumina-Next checkpoint" in refusal(save(**{"layers.0.attention.gate": torch.zeros(0)}))
    (tmp_path / "a.txt").write_text("no weights")
    assert "is not a checkpoint" in refusal(tmp_path / "a.txt")


def test_an_image_checkpoint_in_the_video_loader(save, folder):
    for path in (save(), folder / DIFFUSERS):
        for read in (load_video_model, read_video_config):
            with refused("checkpoint", "mismatch", "Load Lumina-Next Model"):
                read(path)


def test_a_video_checkpoint_in_the_image_loader():
    told = refusal(golden.GOLDEN / "cfg2" / "weights.safetensors")
    assert "is a Lumina-Video checkpoint, not a Lumina-Next image checkpoint; Load Lumina-Video Model reads it" in told


def test_a_sound_model_in_either(tmp_path):
    write_audio_model(tmp_path / "sound.safetensors", 0)
    told = refusal(tmp_path / "sound.safetensors")
    assert "sound.safetensors is a Lumina-V2A audio model" in told and "Load Lumina-Video Audio Model reads it" in told
    with refused("checkpoint", "mismatch", "Load Lumina-Video Audio Model"):
        load_video_model(tmp_path / "sound.safetensors")


# Some keys of each, as their public code names its layers.
STRANGERS = {
    "a Lumina-Image-2.0 checkpoint": (
        "x_embedder.weight", "cap_embedder.0.weight", "context_refiner.0.attention.qkv.weight",
        "noise_refiner.0.attention.qkv.weight", "layers.0.attention.qkv.weight", "layers.0.attention_norm1.weight",
    ),
    "a Flag-DiT of Lumina-T2X for images (Lumina-T2I)": (
        "x_embedder.weight", "cap_embedder.0.weight", "eol_token", "pad_token", "layers.0.attention.wk_y.weight",
        "layers.0.attention_norm.weight", "layers.0.ffn_norm.weight",
    ),
    "a Flag-DiT of Lumina-T2X for audio or music": (
        "proj_in.weight", "t_embedder.mlp.0.weight", "cap_embedder.0.weight", "blocks.0.attention.wk_y.weight",
        "blocks.0.attention_norm.weight",
    ),
    "a class-conditional ImageNet model of Lumina-T2X": (
        "x_embedder.weight", "y_embedder.embedding_table.weight", "layers.0.attention.wq.weight",
        "layers.0.attention_norm1.weight",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STRANGERS)
def test_other_members_of_the_family_are_named(tmp_path, name):
    file = tmp_path / "model.safetensors"
    save_file({key: torch.zeros(1) for key in STRANGERS[name]}, file)
    assert kind_of(STRANGERS[name]).name == name
    told = refusal(file)
    assert told.startswith(f"model.safetensors is {name}, not a Lumina-Next image checkpoint; ")
    assert told.endswith("it is not supported." if "T2X" in name else "by Load Diffusion Model or Load Checkpoint.")
    with refused("checkpoint", "mismatch", "model.safetensors"):
        load_video_model(file)


def test_kinds_do_not_overlap(network, folder):
    """Whatever the order they are tried in."""
    images = [network.state_dict().keys(), load_file(folder / DIFFUSERS).keys()]
    for keys in [*STRANGERS.values(), *images]:
        assert len([kind for kind in KINDS if kind.fits(keys)]) == 1
    assert all(kind_of(keys) is IMAGE for keys in images)
    assert kind_of(["model.weight"]) is None
