"""Checkpoint files, good and bad."""

import argparse
import json
import shutil
import struct
from dataclasses import replace

import golden
import pytest
import torch
from refusals import refused
from safetensors.torch import load_file, save_file

from lumina_core import LatentSize, LuminaError, PatchSize, load_video_model
from lumina_core.checkpoints.video import (
    ARGS_NAME,
    RELEASED_NAMES,
    VIDEO_METADATA_KEY,
    Checkpoint,
    read_video_config,
    video_metadata,
)
from lumina_core.network.config import VideoConfig

SAFETENSORS, PTH = RELEASED_NAMES


@pytest.fixture(scope="module")
def weights():
    """The weights of golden cfg2, read only."""
    return golden.tensors("cfg2/weights")


@pytest.fixture
def save(tmp_path, weights):
    """save(**changes): a checkpoint file with some keys changed (None drops one); returns its path."""

    def write(metadata=None, rename=lambda key: key, **changes):
        changed = {key: value for key, value in {**weights, **changes}.items() if value is not None}
        path = tmp_path / SAFETENSORS
        save_file({rename(key): value.contiguous() for key, value in changed.items()}, path, metadata)
        return path

    return write


def refusal(path):
    """What loading says; both ways in refuse alike."""
    with pytest.raises(LuminaError) as caught:
        load_video_model(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def equal(network, weights):
    found = network.state_dict()
    return found.keys() == weights.keys() and all(torch.equal(found[key], value) for key, value in weights.items())


def test_sizes_come_from_the_shapes(weights):
    network = load_video_model(golden.GOLDEN / "cfg2" / "weights.safetensors")
    assert network.config == golden.model("cfg2").config
    assert equal(network, weights)
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    assert read_video_config(golden.GOLDEN / "cfg1" / "weights.safetensors") == golden.model("cfg1").config


def test_wide_network_is_told_from_its_shapes(tmp_path):
    save_file(golden.wide_weights(), tmp_path / SAFETENSORS)
    assert read_video_config(tmp_path) == golden.model("wide").config


def test_released_folder_of_safetensors(tiny_set):
    network = load_video_model(tiny_set.model)
    assert equal(network, load_file(tiny_set.model / SAFETENSORS))
    assert network.config == read_video_config(tiny_set.model)
    assert (network.config.rope_theta, network.config.t_scale, network.config.motion_scale) == (256.0, 1000.0, 20.0)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old format"])
def test_released_folder_of_pth(tmp_path, weights, zipped):
    torch.save(weights, tmp_path / PTH, _use_new_zipfile_serialization=zipped)
    assert equal(load_video_model(tmp_path), weights)
    assert equal(load_video_model(tmp_path / PTH), weights)
    assert read_video_config(tmp_path) == golden.model("cfg2").config


@pytest.mark.parametrize("zipped", [True, False])
def test_an_opened_pth_holds_no_weights_and_is_read_when_they_are_asked_for(tmp_path, weights, zipped):
    torch.save(dict(weights), tmp_path / PTH, _use_new_zipfile_serialization=zipped)
    opened = Checkpoint.open(tmp_path)
    assert all(value.is_meta for value in opened.tensors.values()) and opened.config.dim == 64
    assert equal(load_video_model(opened), weights)


def test_the_values_of_a_pth_are_read_only_once(tmp_path, weights, monkeypatch):
    torch.save(dict(weights), tmp_path / PTH)
    mapped, load = [], torch.load
    monkeypatch.setattr(torch, "load", lambda *given, **more: mapped.append(more["mmap"]) or load(*given, **more))
    load_video_model(Checkpoint.open(tmp_path))
    assert mapped == [True, False]


def test_a_file_that_changed_since_it_was_opened(save, weights):
    opened = Checkpoint.open(save())
    opened.config  # noqa: B018, the configuration of the first file
    save(**{"layers.0.attention.gate": weights["layers.0.attention.gate"][:1]})
    with pytest.raises(LuminaError, match="has changed since it was opened") as caught:
        load_video_model(opened)
    assert (caught.value.field, caught.value.kind) == ("checkpoint", "file")


def test_another_configuration_than_the_file_s(save):
    opened = Checkpoint.open(save())
    config = replace(opened.config, train_size=LatentSize(2, 8, 8))
    assert load_video_model(opened, config=config).config == config


def test_safetensors_wins_over_pth(tmp_path, save, weights):
    save()
    torch.save({}, tmp_path / PTH)
    assert equal(load_video_model(tmp_path), weights)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "model.diffusion_model.", "diffusion_model.", "layers._orig_mod."])
def test_tool_prefixes_are_dropped(save, weights, prefix):
    def rename(key):
        return key.replace("layers.", prefix, 1) if prefix.startswith("layers") else prefix + key

    path = save(rename=(lambda k: k.replace("layers.0.", "layers.0._orig_mod.")) if "layers" in prefix else rename)
    assert equal(load_video_model(path), weights)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_dtype(save, weights, dtype):
    network = load_video_model(save(), dtype=dtype)
    assert {p.dtype for p in network.parameters()} == {dtype}
    assert torch.equal(network.pad_token, weights["pad_token"].to(dtype))


def test_settings_default_to_the_released_values(save):
    config = load_video_model(save()).config
    assert (config.rope_theta, config.t_scale, config.motion_scale) == (256.0, 1000.0, 20.0)


def test_settings_from_model_args(tmp_path, save):
    save()
    settings = argparse.Namespace(model="MultiScaleNextDiT_2B_GQA", rope_theta=10000.0, t_scale=500, lr=1e-4)
    torch.save(settings, tmp_path / ARGS_NAME)
    config = load_video_model(tmp_path).config
    assert (config.rope_theta, config.t_scale, config.motion_scale) == (10000.0, 500.0, 20.0)
    assert read_video_config(tmp_path) == config


def test_settings_from_metadata_win(tmp_path, save):
    torch.save(argparse.Namespace(rope_theta=10000.0), tmp_path / ARGS_NAME)
    path = save({VIDEO_METADATA_KEY: json.dumps({"rope_theta": 512.0, "motion_scale": 5, "note": "x"}), "format": "pt"})
    config = load_video_model(path).config
    assert (config.rope_theta, config.t_scale, config.motion_scale) == (512.0, 1000.0, 5.0)


def test_settings_change_the_result(tmp_path, save, random):
    """They are used, not only stored."""
    inputs = random(1, 16, 2, 4, 4), torch.tensor([0.3]), random(1, 3, 40), None, torch.tensor([4.0]), PatchSize(1, 2)
    results = [load_video_model(save())(*inputs)]
    for name in ("rope_theta", "t_scale", "motion_scale"):
        results.append(load_video_model(save({VIDEO_METADATA_KEY: json.dumps({name: 33.0})}))(*inputs))
    for i, one in enumerate(results):
        assert not any(torch.allclose(one, other, atol=1e-3) for other in results[i + 1 :])


@pytest.mark.parametrize("value", ['"256"', "true", "0", "-1", "1e12", "null", "[]"])
def test_bad_setting(save, value):
    message = refusal(save({VIDEO_METADATA_KEY: f'{{"rope_theta": {value}}}'}))
    assert "rope_theta = " in message and "expected a number above 0" in message


def test_the_trained_size_comes_back(save):
    config = VideoConfig(train_size=LatentSize(24, 120, 120), latent_rgb=((0.5, 0.0, -1.0),) * 16, rope_theta=300.0)
    found = read_video_config(save(metadata=video_metadata(config)))
    assert (found.train_size, found.latent_rgb, found.rope_theta) == (config.train_size, config.latent_rgb, 300.0)
    assert read_video_config(save(metadata=video_metadata(VideoConfig()))).train_size is None


@pytest.mark.parametrize("value", ["8", "[8, 8]", "[8, 8, 0]", "[8, 8, 8.5]", "[8, 8, true]", '"8x8x8"', "{}"])
def test_a_trained_size_that_is_none(save, value):
    message = refusal(save({VIDEO_METADATA_KEY: f'{{"train_size": {value}}}'}))
    assert "train_size = " in message and "expected three whole numbers above 0" in message


@pytest.mark.parametrize("text", ["", "{", "3", "[1]", "null"])
def test_bad_metadata(save, text):
    assert f"metadata '{VIDEO_METADATA_KEY}' that is not a JSON object" in refusal(save({VIDEO_METADATA_KEY: text}))


def test_code_in_model_args_is_refused(tmp_path, save):
    save()
    torch.save(argparse.Namespace(rope_theta=print), tmp_path / ARGS_NAME)
    assert "model_args.pth contains a pickled call" in refusal(tmp_path)


@pytest.mark.parametrize("patches", [("2-1",), ("2-2", "4-2")])
def test_any_set_of_patch_sizes(tmp_path, weights, patches):
    kept = {
        key: value
        for key, value in weights.items()
        if not key.startswith(("all_x", "all_final")) or key.split(".")[1] in patches
    }
    save_file(kept, tmp_path / SAFETENSORS)
    assert load_video_model(tmp_path).config.patches == tuple(map(PatchSize.from_key, patches))


def test_missing_path(tmp_path):
    message = refusal(tmp_path / "nowhere.safetensors")
    assert "nowhere.safetensors' does not exist; give a released folder, or a .safetensors file" in message


def test_folder_without_weights(tmp_path):
    (tmp_path / "model.safetensors").touch()
    assert f"holds no {SAFETENSORS} (or .pth)" in refusal(tmp_path)


def test_other_file_type(tmp_path):
    (tmp_path / "model.ckpt").touch()
    assert "'model.ckpt' is not a checkpoint; expected a .safetensors or .pth file" in refusal(tmp_path / "model.ckpt")


@pytest.mark.parametrize("keep", [0, 4, 100, 5000, -1])
def test_truncated_safetensors(save, keep):
    path = save()
    path.write_bytes(path.read_bytes()[:keep])
    assert f"{SAFETENSORS} cannot be read" in refusal(path)
    with refused("file", "file", "consolidated.00-of-01.safetensors"):
        read_video_config(path)


def test_absurd_header(tmp_path):
    path = tmp_path / SAFETENSORS
    path.write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    assert "cannot be read" in refusal(path)


@pytest.mark.parametrize("keep", [0, 4, 1000, -100])
def test_truncated_pth(tmp_path, weights, keep):
    path = tmp_path / PTH
    torch.save(weights, path)
    path.write_bytes(path.read_bytes()[:keep])
    assert f"{PTH} cannot be read" in refusal(path)


def test_code_in_pth_is_refused(tmp_path, weights):
    class Payload:
        def __reduce__(self):
            return (tmp_path / "ran").touch, ()

    torch.save({**weights, "pad_token": Payload()}, tmp_path / PTH)
    assert f"{PTH} contains pickled objects other than tensors" in refusal(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, torch.zeros(2)], ids=["list", "number", "tensor"])
def test_pth_without_a_table(tmp_path, content):
    torch.save(content, tmp_path / PTH)
    assert "is not a dictionary of tensors" in refusal(tmp_path)


@pytest.mark.parametrize(
    "content",
    [{}, {"unet.weight": torch.zeros(2)}, {"layers.0.attention.wq.weight": torch.zeros(4, 4)}],
    ids=["empty", "other", "Lumina-Next"],
)
def test_foreign_file(tmp_path, content):
    save_file(content, tmp_path / SAFETENSORS)
    message = refusal(tmp_path)
    assert f"{SAFETENSORS} is not a Lumina-Video checkpoint: all_x_embedder is missing" in message
    assert "expected keys such as all_x_embedder.2-1.weight" in message


@pytest.mark.parametrize(
    "key",
    ["layers.0.attention.gate", "layers.0.attention.wk_y.weight", "t_embedder.mlp.2.weight",
     "layers.0.feed_forward.w1.weight"],
)  # fmt: skip
def test_a_key_that_tells_a_size_is_missing(save, key):
    assert f"is not a Lumina-Video checkpoint: {key} is missing" in refusal(save(**{key: None}))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite(save, weights, bad):
    damaged = weights["layers.1.attention.wo.weight"].clone()
    damaged[3, 5] = bad
    message = refusal(save(**{"layers.1.attention.wo.weight": damaged}))
    assert message == f"{SAFETENSORS} holds NaN or infinite values in layers.1.attention.wo.weight; download it again."


def test_large_finite_values_pass(save, weights):
    """Their sum overflows float16 and float32."""
    changes = {"layers.0.attention.gate": torch.full((4,), 6e4).half()}
    Checkpoint.open(save(pad_token=torch.full((64,), 3e38), **changes)).weights()


def test_missing_unexpected_and_misshapen_keys_are_named(save):
    message = refusal(
        save(
            **{
                "pad_token": None,
                "cap_embedder.0.bias": None,
                "layers.0.attention.extra": torch.zeros(2),
                "layers.1.ffn_norm1.weight": torch.zeros(65),
            }
        )
    )
    assert "does not fit a Lumina-Video network of width 64 and 3 layers" in message
    assert "2 missing (cap_embedder.0.bias, pad_token)" in message
    assert "1 unexpected (layers.0.attention.extra)" in message
    assert "1 of a different shape (layers.1.ffn_norm1.weight)" in message


def test_long_lists_of_keys_are_cut(save):
    message = refusal(save(rename=lambda key: key.replace("norm1", "norm9")))
    assert "6 missing" in message and "6 unexpected" in message and ", ...)" in message


@pytest.mark.parametrize("number", ["7", "900000000", "x"])
def test_a_gap_in_the_layers_is_named(save, number):
    """However large the number: it is not the count of layers to build."""
    message = refusal(save(rename=lambda key: key.replace("layers.1.", f"layers.{number}.")))
    assert "and 3 layers" in message and "missing (layers.1." in message
    assert f"unexpected (layers.{number}." in message


@pytest.mark.parametrize(
    "key, shape",
    [
        ("all_x_embedder.2-1.weight", (4,)),
        ("all_x_embedder.0-1.weight", (4, 4)),
        ("layers.0.attention.gate", (0,)),
        ("layers.0.attention.gate", ()),
        ("layers.0.attention.gate", (128,)),
        ("layers.0.attention.wk_y.weight", (4,)),
        ("layers.0.attention.wk_y.weight", (0, 40)),
        ("t_embedder.mlp.2.weight", ()),
    ],
)
def test_shapes_that_make_no_network(save, key, shape):
    message = refusal(save(**{key: torch.zeros(shape)}))
    assert f"{SAFETENSORS} is not a Lumina-Video checkpoint: its shapes make no network; expected keys" in message


@pytest.mark.parametrize("heads, said", [(3, "must be a multiple of the next"), (8, "multiple of 16")])
def test_heads_that_make_no_network(save, heads, said):
    message = refusal(save(**{"layers.0.attention.gate": torch.zeros(heads)}))
    assert message.startswith(f"{SAFETENSORS} is not a Lumina-Video checkpoint: ") and said in message


def test_header_check_needs_no_weights(save, weights):
    """It sees keys and shapes, so everything but values."""
    damaged = torch.full_like(weights["pad_token"], float("nan"))
    assert isinstance(read_video_config(save(pad_token=damaged)), VideoConfig)
    with refused("file", "file", "pad_token"):
        read_video_config(save(pad_token=None))


def test_reading_leaves_the_folder_as_it_was(tmp_path, tiny_set):
    shutil.copytree(tiny_set.model, tmp_path / "copy")
    before = {p.name: p.read_bytes() for p in (tmp_path / "copy").iterdir()}
    load_video_model(tmp_path / "copy")
    assert {p.name: p.read_bytes() for p in (tmp_path / "copy").iterdir()} == before
