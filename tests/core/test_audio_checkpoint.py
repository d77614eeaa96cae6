"""Sound checkpoints: what is saved comes back, and what is not one is told in a sentence."""

import json

import pytest
import torch
from refusals import refused
from safetensors.torch import save_file

from lumina_core.checkpoints.audio import (
    AUDIO_METADATA_KEY,
    CHECKPOINT_NAME,
    audio_metadata,
    load_audio_model,
    read_audio_config,
)
from lumina_core.errors import LuminaError
from lumina_core.network.audio import AudioNextDiT
from lumina_core.network.audio_config import AudioConfig
from lumina_core.network.sync_align import ALIGN_MMAUDIO

CONFIG = AudioConfig(
    channels=3, bins=8, dim=32, layers=1, heads=4, kv_heads=2, visual_dim=10, text_dim=12, sync_dim=6, text_tokens=5,
    cond_dim=16, sync_align=ALIGN_MMAUDIO, visual_times=False, t_scale=7.0,
)  # fmt: skip


@pytest.fixture
def written(tmp_path):
    """written(change=..., metadata=...): a checkpoint file, its weights changed in place."""
    torch.manual_seed(0)
    network = AudioNextDiT(CONFIG)

    def write(change=lambda weights: None, metadata=None):
        weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
        change(weights)
        save_file(weights, tmp_path / CHECKPOINT_NAME, audio_metadata(CONFIG) if metadata is None else metadata)
        return tmp_path / CHECKPOINT_NAME

    write.network = network
    return write


def test_a_checkpoint_comes_back_with_every_choice(written):
    file = written()
    for path in (file, file.parent):
        loaded = load_audio_model(path)
        assert loaded.config == read_audio_config(path) == CONFIG
        assert not loaded.training
        for name, value in written.network.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], value)


def test_names_of_other_tools_are_cleaned(written):
    def compiled(weights):
        for name in list(weights):
            weights[f"model.diffusion_model.{name}"] = weights.pop(name)

    assert load_audio_model(written(compiled)).config == CONFIG


def _header(**changes):
    return {AUDIO_METADATA_KEY: json.dumps({**json.loads(audio_metadata(CONFIG)[AUDIO_METADATA_KEY]), **changes})}


@pytest.mark.parametrize(
    "change, metadata, words",
    [
        (lambda w: w.pop("null_sync"), None, "1 missing (null_sync)"),
        (lambda w: w.update(extra=torch.zeros(1)), None, "1 unexpected (extra)"),
        (lambda w: w.update(null_sync=torch.zeros(1, 9)), None, "1 of a different shape (null_sync)"),
        (lambda w: w["x_embedder.bias"].fill_(float("nan")), None, "NaN or infinite values in x_embedder.bias"),
        (lambda w: None, {}, "is not a Lumina-V2A audio model"),
        (lambda w: None, {"lumina_video": "{}"}, "which is a Lumina-Video checkpoint"),
        (lambda w: None, {AUDIO_METADATA_KEY: "{"}, "is damaged"),
        (lambda w: None, {AUDIO_METADATA_KEY: "[]"}, "write fields"),
        (lambda w: None, _header(layers=2), "missing"),
        (lambda w: None, _header(speed=1), "unknown field 'speed'"),
        (lambda w: None, _header(heads=5), "multiple of the next"),
    ],
)
def test_what_is_no_whole_checkpoint_is_told(written, change, metadata, words):
    with pytest.raises(LuminaError) as told:
        load_audio_model(written(change, metadata))
    assert words in str(told.value)


def test_a_header_is_enough_to_refuse(written):
    with refused("file", "file", "null_sync"):
        read_audio_config(written(lambda weights: weights.pop("null_sync")))


def test_truncated_and_absent_files_are_told(written, tmp_path):
    file = written()
    file.write_bytes(file.read_bytes()[:-100])
    with refused("file", "file", "model.safetensors"):
        load_audio_model(file)
    with refused("model", "missing", "none.safetensors"):
        load_audio_model(tmp_path / "none.safetensors")
    (tmp_path / "empty").mkdir()
    with refused("model", "missing", "model.safetensors"):
        load_audio_model(tmp_path / "empty")
    (tmp_path / "model.pth").write_bytes(b"x")
    with refused("model", "file", ".safetensors"):
        load_audio_model(tmp_path / "model.pth")
