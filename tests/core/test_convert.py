"""`lumina-video convert`: from the released layout to one bf16 .safetensors file, whole or not at all."""

import argparse
import subprocess
import sys
from pathlib import Path

import golden
import pytest
import torch
from refusals import refused
from safetensors.torch import load_file, save_file

from lumina_core.checkpoints.convert import convert_checkpoint, converted_name
from lumina_core.checkpoints.video import ARGS_NAME, RELEASED_NAMES, read_video_config
from lumina_core.cli import main
from lumina_core.network.config import VideoConfig
from lumina_core.network.video import MultiScaleNextDiT
from lumina_core.runtime.tensor_files import read_metadata
from scripts.make_tiny_set import MODEL_ARGS, random_weights

ROOT = Path(__file__).parents[2]
PTH = RELEASED_NAMES[1]
NAME = "lumina_video_f24R960_bf16.safetensors"


@pytest.fixture(scope="module")
def weights():
    """The weights of golden cfg2, read only."""
    return golden.tensors("cfg2/weights")


@pytest.fixture
def released(tmp_path, weights):
    """A folder as the authors released it, with settings that are not the built-in ones."""
    folder = tmp_path / "Lumina-Video-f24R960"
    folder.mkdir()
    torch.save(dict(weights), folder / PTH)
    settings = {**MODEL_ARGS, "rope_theta": 512.0, "motion_scale": 7.0}
    torch.save(argparse.Namespace(**settings), folder / ARGS_NAME)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_released_folder_becomes_one_file_of_half_the_size(released, weights):
    before = contents(released)
    target = convert_checkpoint(released)
    assert target == released / NAME
    converted = load_file(target)
    assert converted.keys() == weights.keys()
    assert all(torch.equal(converted[key], value.bfloat16()) for key, value in weights.items())
    after = contents(released)
    assert after.keys() == before.keys() | {NAME} and {**after, **before} == after
    assert target.stat().st_size < 0.52 * (released / PTH).stat().st_size


def test_the_settings_are_in_the_header_and_need_no_file_beside_it(released, tmp_path):
    target = convert_checkpoint(released, tmp_path / "alone.safetensors")
    config = read_video_config(target)
    assert config == read_video_config(released)
    assert (config.rope_theta, config.motion_scale) == (512.0, 7.0)
    assert read_metadata(target)["format"] == "pt"


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=["fp16", "fp32"])
def test_another_precision(released, weights, dtype):
    target = convert_checkpoint(released, dtype=dtype)
    assert target.name.endswith("fp16.safetensors" if dtype == torch.float16 else "fp32.safetensors")
    assert all(torch.equal(value, weights[key].to(dtype)) for key, value in load_file(target).items())


@pytest.mark.parametrize("old", [True, False], ids=["torch before 1.6", "safetensors"])
def test_other_sources(released, tmp_path, weights, old):
    (released / PTH).unlink()
    if old:
        torch.save(dict(weights), released / PTH, _use_new_zipfile_serialization=False)
    else:
        prefixed = {f"model.diffusion_model.{key}": value for key, value in weights.items()}
        save_file(prefixed, released / RELEASED_NAMES[0])
    converted = load_file(convert_checkpoint(released, tmp_path))
    assert converted.keys() == weights.keys()
    assert all(torch.equal(converted[key], value.bfloat16()) for key, value in weights.items())


@pytest.mark.parametrize("path, name", [
    (f"Lumina-Video-f24R960/{PTH}", NAME),
    (f"models/diffusion_models/{PTH}", "lumina_video_bf16.safetensors"),
    ("models/lumina_video_mine.pth", "lumina_video_mine_bf16.safetensors"),
])  # fmt: skip
def test_the_name_says_what_it_is(path, name):
    assert converted_name(Path(path)) == name


def test_an_existing_file_is_replaced_only_if_asked(released):
    (released / NAME).write_bytes(b"mine")
    with refused("out", "value", NAME, "--overwrite"):
        convert_checkpoint(released)
    assert (released / NAME).read_bytes() == b"mine"
    convert_checkpoint(released, overwrite=True)
    assert len(load_file(released / NAME)) > 1


def test_a_file_that_appears_meanwhile_is_kept(released):
    def appear(_):
        (released / NAME).write_bytes(b"mine")

    with refused("out", "value", NAME):
        convert_checkpoint(released, callback=appear)
    assert contents(released).keys() == {PTH, ARGS_NAME, NAME} and (released / NAME).read_bytes() == b"mine"


def test_an_interrupt_leaves_nothing(released):
    def interrupt(_):
        raise KeyboardInterrupt

    before = contents(released)
    with pytest.raises(KeyboardInterrupt):
        convert_checkpoint(released, callback=interrupt)
    assert contents(released) == before


def test_places_that_cannot_be_written(released, tmp_path, monkeypatch):
    with refused("out", "value", "'.pth'"):
        convert_checkpoint(released, tmp_path / "a.pth")
    with refused("out", "missing", "absent"):
        convert_checkpoint(released, tmp_path / "absent" / "a.safetensors")
    source = convert_checkpoint(released)
    with refused("out", "value", NAME):
        convert_checkpoint(source, source, overwrite=True)
    monkeypatch.setattr("shutil.disk_usage", lambda path: argparse.Namespace(free=1000))
    with refused("out", "resource", "0.0 GB"):
        convert_checkpoint(released, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [released.name]


@pytest.mark.parametrize("value, fact", [(float("nan"), PTH), (3.4e38, "bf16")], ids=["nan", "beyond bf16"])
def test_values_that_are_not_finite(released, weights, value, fact):
    torch.save({**weights, "pad_token": torch.full_like(weights["pad_token"], value)}, released / PTH)
    with refused("file", "numerics", "pad_token", fact):
        convert_checkpoint(released)
    assert contents(released).keys() == {PTH, ARGS_NAME}


def test_another_model_is_refused(released, weights):
    torch.save({key.replace("all_x_embedder", "x"): value for key, value in weights.items()}, released / PTH)
    with refused("checkpoint", "file", PTH):
        convert_checkpoint(released)


class RunsCode:
    """Unpickling it would make a file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def test_no_code_of_a_pth_is_run(released, tmp_path):
    marker = tmp_path / "ran"
    torch.save({"layers": RunsCode(marker)}, released / PTH)
    with refused("file", "file", PTH):
        convert_checkpoint(released)
    assert not marker.exists()


# Anonymous memory in kB, which does not count pages of a mapped file, before and at most while converting.
MEMORY = """
import sys, torch
from lumina_core.checkpoints.convert import convert_checkpoint
def used():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
convert_checkpoint(sys.argv[1], sys.argv[2])
before, most = used(), [0]
def look(_):
    most[0] = max(most[0], used())
convert_checkpoint(sys.argv[1], sys.argv[3], callback=look)
print(before, most[0])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory of a process as Linux reports it")
def test_memory_does_not_grow_with_the_file(tmp_path):
    config = VideoConfig(dim=512, layers=16, heads=8, kv_heads=4, ffn_hidden=1536, text_dim=128, cond_dim=256)
    with torch.device("meta"):
        shapes = MultiScaleNextDiT(config).state_dict()
    torch.save(random_weights(shapes, 0), tmp_path / PTH)
    size = (tmp_path / PTH).stat().st_size
    command = [sys.executable, "-c", MEMORY, tmp_path / PTH, tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)  # noqa: S603
    before, most = map(int, done.stdout.split())
    assert size > 200e6 and (most - before) * 1024 < size / 8


def test_the_command(released, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    assert main(["convert", str(released), "--out", str(tmp_path / "out")]) == 0
    about, path = capsys.readouterr().out.splitlines()
    assert path == str(tmp_path / "out" / NAME) and about.endswith("GB, bf16")
    assert main(["convert", str(released), "--out", str(tmp_path / "out")]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["convert", str(released), "--out", str(tmp_path / "out"), "--overwrite", "--dtype", "fp16"]) == 0


def test_the_converted_file_generates(released, tiny_set, out, capsys):
    """The tiny set's own checkpoint in the released layout gives the same clip before and after."""
    torch.save(load_file(tiny_set.model / RELEASED_NAMES[0]), released / PTH)
    flags = ["--text-encoder", str(tiny_set.text), "--vae", str(tiny_set.vae), "--prompt", "a cat", "--points", "3"]
    flags += ["--width", "64", "--height", "32", "--frames", "8", "--device", "cpu", "--dtype", "bf16"]
    latents = []
    for checkpoint in (released, convert_checkpoint(released)):
        saved = out.with_suffix(".safetensors")
        more = ["--checkpoint", str(checkpoint), "--out", str(out), "--save-latents", str(saved)]
        assert main(["generate", *flags, *more]) == 0
        latents.append(load_file(saved))
    assert all(torch.equal(latents[0][key], latents[1][key]) for key in latents[0])
