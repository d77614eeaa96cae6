"""SDXL's VAE from each of its layouts, against diffusers' own class."""

import json
import shutil

import pytest
import torch
from diffusers import AutoencoderKL
from refusals import refused
from safetensors.torch import load_file, save_file

from lumina_core import LuminaError
from lumina_core.vae.image import CONFIG, SCALE, WEIGHTS, load_image_vae, read_image_vae_channels
from scripts.make_tiny_set import random_weights

# Names of the original layout by diffusers' beginnings, for two levels.
ORIGINAL = [
    ("encoder.down_blocks.0.resnets.", "encoder.down.0.block."),
    ("encoder.down_blocks.1.resnets.", "encoder.down.1.block."),
    ("encoder.down_blocks.0.downsamplers.0.", "encoder.down.0.downsample."),
    ("decoder.up_blocks.0.resnets.", "decoder.up.1.block."),
    ("decoder.up_blocks.1.resnets.", "decoder.up.0.block."),
    ("decoder.up_blocks.0.upsamplers.0.", "decoder.up.1.upsample."),
    (".mid_block.resnets.0.", ".mid.block_1."),
    (".mid_block.resnets.1.", ".mid.block_2."),
    (".mid_block.attentions.0.group_norm.", ".mid.attn_1.norm."),
    (".mid_block.attentions.0.to_out.0.", ".mid.attn_1.proj_out."),
    (".mid_block.attentions.0.to_", ".mid.attn_1."),
    ("conv_norm_out.", "norm_out."),
    ("conv_shortcut.", "nin_shortcut."),
]


@pytest.fixture(scope="module")
def theirs():
    model = AutoencoderKL(
        block_out_channels=(8, 16), layers_per_block=1, latent_channels=4, norm_num_groups=8, scaling_factor=SCALE,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    model.load_state_dict(random_weights(model.state_dict(), 3))
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def folder(theirs, tmp_path_factory):
    theirs.save_pretrained(root := tmp_path_factory.mktemp("vae") / "vae")
    return root


@pytest.fixture
def latents(random):
    return random(2, 4, 6, 10)


def original(folder):
    """The weights in the original layout, its attention as 1x1 convolutions."""
    found = {}
    for key, value in load_file(folder / WEIGHTS).items():
        name = key
        for ours, theirs in ORIGINAL:
            name = name.replace(ours, theirs)
        found[name] = value[..., None, None] if ".attn_1." in name and value.ndim == 2 else value
    return {key: value.clone() for key, value in found.items()}


def test_images_are_those_of_diffusers(theirs, folder, latents):
    vae = load_image_vae(folder)
    assert vae.channels == read_image_vae_channels(folder) == 4
    expected = (theirs.decode(latents / SCALE).sample / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    found = vae.decode(latents)
    assert found.shape == (2, 12, 20, 3) and 0.01 < float(found.std()) and torch.allclose(found, expected, atol=1e-5)
    assert torch.equal(found[1:], vae.decode(latents[1:])), "an image does not depend on the others"
    assert torch.equal(load_image_vae(folder.parent).decode(latents), found), "of a model's folder its vae/ is meant"


@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
def test_the_original_layout(folder, latents, tmp_path, prefix):
    file = tmp_path / "sdxl_vae.safetensors"
    others = {"model.diffusion_model.x": torch.zeros(1)} if prefix else {}
    weights = {prefix + key: value for key, value in original(folder).items()}
    save_file(weights | others, file)
    if prefix:
        file = file.rename(tmp_path / "whole.safetensors")
    assert read_image_vae_channels(file) == 4
    assert torch.equal(load_image_vae(file).decode(latents), load_image_vae(folder).decode(latents))


def test_old_names_of_the_attention(folder, latents, tmp_path):
    shutil.copytree(folder, tmp_path / "old")
    renamed = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = {}
    for key, value in load_file(folder / WEIGHTS).items():
        for new, old in renamed.items():
            key = key.replace(f".{new}.", f".{old}.") if ".attentions." in key else key
        weights[key] = value.clone()
    save_file(weights, tmp_path / "old" / WEIGHTS)
    assert torch.equal(load_image_vae(tmp_path / "old").decode(latents), load_image_vae(folder).decode(latents))


@pytest.mark.parametrize(
    ("change", "kind"),
    [("absent", "missing"), ("no config", "file"), ("broken config", "file"), ("one channel", "mismatch")],
)
def test_other_files_are_refused(folder, tmp_path, change, kind):
    copy = tmp_path / "vae"
    if change != "absent":
        shutil.copytree(folder, copy)
    if change == "no config":
        (copy / CONFIG).unlink()
    if change == "broken config":
        (copy / CONFIG).write_text("{", encoding="utf-8")
    if change == "one channel":
        config = json.loads((copy / CONFIG).read_text(encoding="utf-8"))
        (copy / CONFIG).write_text(json.dumps(config | {"in_channels": 1}), encoding="utf-8")
    for read in (read_image_vae_channels, load_image_vae):
        with pytest.raises(LuminaError) as caught:
            read(copy)
        assert (caught.value.field, caught.value.kind) == ("vae", kind)


def test_weights_and_latents_that_do_not_fit(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "vae")
    weights = load_file(folder / WEIGHTS)
    del weights["decoder.conv_in.weight"]
    save_file(weights, tmp_path / "vae" / WEIGHTS)
    with refused("file", "file", "decoder.conv_in.weight"):
        load_image_vae(tmp_path / "vae")
    vae = load_image_vae(folder)
    with pytest.raises(LuminaError) as caught:
        vae.decode(torch.zeros(1, 16, 4, 4))
    assert (caught.value.field, caught.value.kind) == ("latents", "mismatch")
    with pytest.raises(LuminaError) as caught:
        vae.decode(torch.full((1, 4, 4, 4), float("nan")))
    assert caught.value.kind == "numerics"
