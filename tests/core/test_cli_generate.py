"""``generate`` from images, videos, several prompts and seeds, and drafts: what is written, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch

from lumina_core.cli import main
from lumina_core.media import write_image, write_video
from lumina_core.media.reader import all_frames, probe
from lumina_core.media.writer import read_metadata
from lumina_core.pipelines.latent_files import load_latents


@pytest.fixture
def flags(tiny_set, tmp_path, monkeypatch):
    """Flags of a quick run without a prompt, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    models = ["--checkpoint", tiny_set.model, "--text-encoder", tiny_set.text, "--vae", tiny_set.vae]
    clip = ["--width", "32", "--height", "32", "--frames", "16", "--device", "cpu", "--points", "4"]
    patch = ["--time-shift", "1", "--patch", "2x2 | 0.3: 1x2", "--guidance", "0"]
    return [str(part) for part in ["generate", *models, *clip, *patch]]


@pytest.fixture
def video(tmp_path):
    """24 frames at 12 fps, one gray after another."""
    grays = torch.linspace(0, 1, 24)[:, None, None, None].expand(24, 32, 32, 3)
    return write_video(tmp_path / "given.mp4", grays, 12).path


def made(file):
    return json.loads(read_metadata(file)["lumina_video"])


def paths(capsys):
    """Every second line of stdout, which is a path."""
    return capsys.readouterr().out.splitlines()[1::2]


def test_several_prompts_and_seeds_are_named_in_order(flags, tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text("\ufeffa cat\n\n# a remark\n  a dog \r\n", encoding="utf-8")
    asked = ["--prompts", "prompts.txt", "--num", "2", "--seed", "5", "--frames", "8", "--out", "clip.mp4"]
    assert main([*flags, *asked]) == 0
    files = paths(capsys)
    assert files == [f"clip-{number}.mp4" for number in (1, 2, 3, 4)]
    assert sorted(file.name for file in tmp_path.glob("*.mp4")) == files
    told = [(made(file)["prompt"], made(file)["seed"]) for file in files]
    assert told == [("a cat", 5), ("a cat", 6), ("a dog", 5), ("a dog", 6)]


def test_an_image_becomes_the_first_frames(flags, tmp_path, capsys):
    write_image(tmp_path / "first.png", torch.rand(48, 64, 3))
    assert main([*flags, "--prompt", "a cat", "--image", "first.png", "--hold", "0.3", "--out", "a.mp4"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "a.mp4" and "note: The image is 64x48" in err
    assert (made("a.mp4")["images"], made("a.mp4")["hold"]) == (1, 0.3)


def test_a_continuation_holds_the_given_video_and_the_new_frames(flags, video, capsys):
    assert main([*flags, "--prompt", "a cat", "--continue", str(video), "--out", "longer.mp4"]) == 0
    frames = torch.stack(list(all_frames("longer.mp4"))).float()
    # 24 given ones, and 16 of which 8 repeat the last given ones.
    assert len(frames) == 24 + 8 and probe("longer.mp4").fps == 12
    before = torch.stack(list(all_frames(video))).float()
    assert float((frames[:24] - before).abs().mean()) < 3


def test_a_video_is_rendered_again_at_its_own_rate(flags, video, capsys):
    assert main([*flags, "--prompt", "a cat", "--video", str(video), "--strength", "0.7", "--out", "b.mp4"]) == 0
    about, path = capsys.readouterr().out.splitlines()
    assert about.startswith("32x32, 16 frames at 12 fps") and "NFE 2 " in about and path == "b.mp4"


@pytest.mark.slow
def test_drafts_are_kept_and_one_is_refined_to_the_whole_run(flags, capsys):
    text = ["--prompt", "a cat"]
    assert main([*flags, *text, "--seed", "7", "--out", "whole.mp4", "--save-latents", "whole.safetensors"]) == 0
    drafts = ["--num", "2", "--seed", "6", "--stop", "draft", "--save-latents", "drafts.safetensors"]
    assert main([*flags, *text, *drafts, "--out", "draft.mp4"]) == 0
    kept = load_latents("drafts.safetensors")
    assert kept.seeds == (6, 7) and kept.step == 1 and made("draft-2.mp4")["stop"] == 1
    refine = ["--latents", "drafts.safetensors", "--pick", "2", "--save-latents", "fine.safetensors"]
    assert main([*flags, *text, *refine, "--out", "fine.mp4"]) == 0
    assert torch.equal(load_latents("fine.safetensors").latents, load_latents("whole.safetensors").latents)
    assert (made("fine.mp4")["seed"], made("fine.mp4")["start"]) == (7, 1)
    assert paths(capsys)[-1] == "fine.mp4"


def test_an_interrupt_after_the_first_clip_says_what_is_written(flags, tmp_path, capsys, monkeypatch):
    from lumina_core.cli import generate

    original, count = generate.write_clip, []

    def write(*given):
        if count:
            raise KeyboardInterrupt
        count.append(1)
        return original(*given)

    monkeypatch.setattr(generate, "write_clip", write)
    assert main([*flags, "--prompt", "a cat", "--num", "2", "--frames", "8", "--out", "c.mp4"]) == 130
    assert "1 of 2 clips" in capsys.readouterr().err
    assert [file.name for file in tmp_path.glob("*.mp4")] == ["c-1.mp4"]


BAD = [
    (["--prompts", "absent.txt"], ["--prompts 'absent.txt' does not exist"]),
    (["--prompts", "empty.txt"], ["empty.txt has 0 prompts"]),
    (["--prompts", "bytes.txt"], ["bytes.txt, line 2", "UTF-8"]),
    (["--prompts", "control.txt"], ["control.txt, line 3", "U+0007"]),
    (["--prompts", "good.txt", "--prompt", "a cat"], ["--prompt", "--prompts"]),
    (["--prompts", "good.txt", "--audio"], ["--audio-prompt"]),
    ([], ["required: --prompt"]),
    (["--prompt", "x", "--num", "0"], ["videos_per_prompt is 0"]),
    (["--prompt", "x", "--image", "absent.png"], ["--image 'absent.png' does not exist"]),
    (["--prompt", "x", "--image", "empty.txt"], ["empty.txt cannot be read as an image"]),
    (["--prompt", "x", "--image", "a.png", "--video", "given.mp4"], ["--image", "--video"]),
    (["--prompt", "x", "--continue", "given.mp4", "--video", "given.mp4"], ["--continue", "--video"]),
    (["--prompt", "x", "--strength", "0.5"], ["--strength needs --video"]),
    (["--prompt", "x", "--hold", "0.5"], ["--hold needs --image or --continue"]),
    (["--prompt", "x", "--context", "8"], ["--context needs --continue"]),
    (["--prompt", "x", "--image", "a.png", "--hold", "2"], ["hold is 2"]),
    (["--prompt", "x", "--image", "a.png", "--frames", "12"], ["frames is 12"]),
    (["--prompt", "x", "--video", "good.txt"], ["good.txt cannot be read as a video"]),
    (["--prompt", "x", "--video", "given.mp4", "--strength", "0"], ["strength is 0"]),
    (["--prompt", "x", "--continue", "given.mp4", "--context", "5"], ["--context is 5"]),
    (["--prompt", "x", "--continue", "given.mp4", "--context", "32"], ["24 frames", "32"]),
    (["--prompt", "x", "--continue", "given.mp4", "--context", "16"], ["16 images", "16 frames"]),
    (["--prompt", "x", "--stop", "2"], ["--save-latents"]),
    (["--prompt", "x", "--stop", "soon", "--save-latents", "s.safetensors"], ["--stop is 'soon'"]),
    (["--prompt", "x", "--stop", "9", "--save-latents", "s.safetensors"], ["stop is 9"]),
    (["--prompt", "x", "--patch", "1x2", "--stop", "draft", "--save-latents", "s.safetensors"], ["same patch size"]),
    (["--prompt", "x", "--save-latents", "s.pt"], ["s.pt", ".safetensors"]),
    (["--prompt", "x", "--latents", "absent.safetensors"], ["--latents 'absent.safetensors' does not exist"]),
    (["--prompt", "x", "--latents", "s.safetensors"], ["s.safetensors", "latents"]),
    (["--prompt", "x", "--pick", "1"], ["--pick", "--latents"]),
    (["--prompt", "x", "--latents", "s.safetensors", "--seed", "3"], ["--latents", "--seed"]),
]


@pytest.mark.parametrize(("extra", "words"), BAD, ids=lambda value: " ".join(value))
def test_wrong_combinations_end_in_one_line_before_anything_is_read(flags, video, tmp_path, capsys, extra, words):
    from safetensors.torch import save_file

    (tmp_path / "good.txt").write_text("a cat\na dog\n", encoding="utf-8")
    (tmp_path / "empty.txt").write_text("\n# nothing\n", encoding="utf-8")
    (tmp_path / "bytes.txt").write_bytes(b"a cat\n\xff\xfe\n")
    (tmp_path / "control.txt").write_text("a cat\n\na\x07dog\n", encoding="utf-8")
    write_image(tmp_path / "a.png", torch.rand(32, 32, 3))
    if "absent.safetensors" not in extra and "--latents" in extra:
        save_file({"other": torch.zeros(1)}, tmp_path / "s.safetensors")
    before = sorted(tmp_path.iterdir())
    assert main([*flags, *extra]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1, err
    for word in words:
        assert word in err, err
    assert "reading" not in err and sorted(tmp_path.iterdir()) == before
