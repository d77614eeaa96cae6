"""Names of tensors, read cheaply from a header, by which loaders list only files of their own kind."""

import zipfile

import golden
import pytest
import torch
from safetensors.torch import save_file

from lumina_core.checkpoints.detect import AUDIO, IMAGE, VIDEO, VIDEO_VAE
from lumina_core.runtime.tensor_files import key_names
from lumina_core.vae.compact import CompactVAE, CompactVAEConfig
from scripts.make_tiny_set import IMAGE_MODEL_FOLDER, IMAGE_VAE, SOUND_MODEL

WEIGHTS = "consolidated.00-of-01.safetensors"


@pytest.fixture(scope="module")
def weights():
    return golden.tensors("cfg1/weights")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".ckpt"])
def test_names_of_a_file(tmp_path, weights, suffix):
    file = tmp_path / f"model{suffix}"
    if suffix == ".safetensors":
        save_file(weights, file, {"format": "pt"})
        assert key_names(file) == weights.keys()
    else:
        torch.save(dict(weights), file)
        # The strings of a pickle are not only names.
        assert key_names(file) >= weights.keys()
    assert VIDEO.fits(key_names(file)) and not IMAGE.fits(key_names(file))


@pytest.mark.parametrize("content", [
    b"", b"\0" * 7, b"\xff" * 100, (10**9).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"[[",
    (4).to_bytes(8, "little") + b"null",
], ids=["empty", "short", "noise", "a header of 1 GB", "no JSON", "no object"])  # fmt: skip
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_without_a_header_has_no_names(tmp_path, suffix, content):
    file = tmp_path / f"model{suffix}"
    file.write_bytes(content)
    assert key_names(file) is None


def test_a_zip_without_a_pickle_and_a_missing_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("readme.txt", "a")
    with zipfile.ZipFile(tmp_path / "b.pth", "w") as archive:
        archive.writestr("b/data.pkl", b"\x80\x02\xff")
    assert [key_names(tmp_path / name) for name in ("a.pth", "b.pth", "c.pth", "c.safetensors")] == [None] * 4


def test_each_kind_knows_its_own_files(tiny_set, tmp_path):
    compact = CompactVAE(CompactVAEConfig(latent_channels=4, wide=16, narrow=8, depth=1))
    save_file(compact.state_dict(), tmp_path / "compact.safetensors")
    files = {
        VIDEO: [tiny_set.model / WEIGHTS],
        IMAGE: [tiny_set.root / IMAGE_MODEL_FOLDER / WEIGHTS],
        AUDIO: [tiny_set.root / SOUND_MODEL],
        VIDEO_VAE: [tiny_set.vae / "diffusion_pytorch_model.safetensors", tmp_path / "compact.safetensors"],
        None: [tiny_set.root / IMAGE_VAE],
    }
    for kind, paths in files.items():
        for path in paths:
            assert {other for other in files if other and other.fits(key_names(path))} == {kind} - {None}, path
