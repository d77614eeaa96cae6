"""The bundled model at sizes it was not trained at, from the prompt to pixels; how good they are is not told here."""

import io
import json
import sys

import pytest
import torch
from PIL import Image

import lumina_core.__main__ as program
from lumina_core.cli import main
from lumina_core.pipelines.video import LuminaVideoPipeline
from lumina_core.pipelines.video_writer import clip_targets, write_clip
from lumina_core.sampling.presets import PRESETS
from lumina_core.shapes.latents import VideoSize
from lumina_core.shapes.resolutions import area_sizes


def made(tmp_path, size: VideoSize, preset: str, prompt: str = "一个红色的圆形在黑色背景上向右移动。") -> torch.Tensor:
    """Frames of a clip of two steps, which are written to a file, too."""
    pipe = LuminaVideoPipeline.from_bundle("mini", device="cpu")
    job = pipe.prepare(prompt, plan=PRESETS[preset].replace(points=3), size=size)
    (file,) = clip_targets(tmp_path / ("clip.png" if size.frames == 1 else "clip.mp4"), job)
    with pipe.run(job) as found:
        frames = pipe.decode(found.estimate)[0]
    result = write_clip(pipe, job, 0, [frames], file)
    assert (result.width, result.height, result.frames) == (size.width, size.height, size.frames)
    assert result.file.stat().st_size > 0
    return frames


@pytest.mark.parametrize(
    "width, height, frames, preset",
    [
        (80, 48, 16, "mini"),  # multiples of 16: the finest patch size alone
        (48, 112, 8, "mini"),
        (16, 16, 8, "mini"),
        (96, 96, 16, "mini-MultiScale"),
        (128, 32, 8, "mini-MultiScale"),
        (80, 48, 1, "mini"),
        (32, 96, 1, "mini-MultiScale"),
    ],
)
def test_odd_sizes_run_through_to_pixels(tmp_path, width, height, frames, preset):
    found = made(tmp_path, VideoSize(width, height, frames), preset)
    assert found.shape == (frames, height, width, 3)
    assert found.isfinite().all() and found.min() >= 0 and found.max() <= 1
    assert found.std() > 0.01, "one color throughout"


def test_the_command_line_takes_a_ratio(tmp_path):
    out = tmp_path / "tall.png"
    flags = ["--bundle", "mini", "--ratio", "1:2", "--frames", "1", "--points", "2", "--device", "cpu"]
    assert main(["generate", *flags, "--prompt", "蓝色的星星", "--out", str(out)]) == 0
    with Image.open(out) as picture:
        assert picture.size == (32, 64)


def test_the_command_line_lists_the_sizes(capsys):
    assert main(["plan", "--sizes", "--preset", "f16F64R512"]) == 0
    assert capsys.readouterr().out.split() == [f"{width}x{height}" for width, height in area_sizes(512)]
    assert main(["plan", "--ratio", "9:16", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["width"], found["height"], found["frames"]) == (704, 1248, 96)


@pytest.mark.parametrize(
    "flags, told",
    [
        (["--ratio", "5:1"], "--ratio is '5:1', beyond 4:1"),
        (["--ratio", "tall"], "--ratio is 'tall'; write width:height"),
        (["--ratio", "1:1", "--height", "64"], "use only one of them"),
    ],
)
def test_a_bad_ratio_is_told(capsys, flags, told):
    assert main(["plan", *flags]) != 0
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("command", ["generate", "demo"])
def test_half_a_character_on_the_command_line_is_told(tmp_path, capsys, command):
    """Bytes that are no UTF-8 reach Python's arguments as such halves."""
    assert main([command, "--bundle", "mini", "--prompt", "연 \udcff", "--out", str(tmp_path / "x.mp4")]) != 0
    assert "U+DCFF" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_console_without_the_prompts_letters_shows_their_codes(tmp_path, monkeypatch):
    size = ["--width", "16", "--height", "16", "--frames", "8", "--patch", "1x2", "--points", "2", "--no-audio"]
    console = io.TextIOWrapper(io.BytesIO(), encoding="cp1252", write_through=True)
    monkeypatch.setattr(sys, "stdout", console)
    monkeypatch.setattr(sys, "argv", ["", "demo", "--prompt", "鸢", *size, "--out", str(tmp_path / "x.mp4")])
    assert program.main() == 0
    assert b"\\u9e22" in console.buffer.getvalue()
