"""Bundles: the file that describes them, the flags that choose them, and a run from prompt to files."""

import json
import re
import shutil

import pytest
import torch
from refusals import refused

from lumina_core.audio.codec_loader import read_codec_channels
from lumina_core.audio.feature_config import read_feature_widths
from lumina_core.checkpoints.audio import read_audio_config
from lumina_core.checkpoints.video import LATENT_RGB, VIDEO_METADATA_KEY, load_video_model, read_video_config
from lumina_core.cli import main
from lumina_core.media.reader import probe
from lumina_core.media.writer import read_metadata
from lumina_core.mini.audio_bundling import AudioBundleRecipe, write_audio_bundle
from lumina_core.mini.bundling import BundleRecipe
from lumina_core.mini.bundling import write_bundle as write_mini_bundle
from lumina_core.pipelines.audio_file import AudioSettings, audio_for_frames
from lumina_core.pipelines.audio_inputs import AudioFiles
from lumina_core.pipelines.bundle import DESCRIPTION, bundled, find_bundle, read_bundle
from lumina_core.runtime.tensor_files import read_safetensors
from lumina_core.sampling.audio import AudioPlan
from lumina_core.shapes.latents import VideoSize
from lumina_core.text.gemma import read_text_width
from lumina_core.vae.latent_preview import LATENT_RGB_FACTORS, latents_to_rgb, preview_factors
from lumina_core.vae.loader import load_video_vae, read_vae_channels
from scripts.make_tiny_audio import CHANNELS, write_audio, write_codec
from scripts.make_tiny_set import BUNDLE, BUNDLE_CHANNELS, TEXT_WIDTH, write_bundle

QUICK = ["--points", "4", "--frames", "16"]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A `bundles` folder with one random bundle, mini."""
    folder = tmp_path_factory.mktemp("bundles")
    write_bundle(folder / "mini")
    return folder


@pytest.fixture
def shipped(shelf, monkeypatch):
    monkeypatch.setattr("lumina_core.pipelines.bundle.SHIPPED", shelf)
    return shelf


@pytest.fixture
def described(shelf, tmp_path):
    """A copy whose description can be changed: described(field=value), or None to take a field away."""
    folder = shutil.copytree(shelf / "mini", tmp_path / "copy")

    def change(**fields):
        values = {key: value for key, value in {**BUNDLE, **fields}.items() if value is not None}
        (folder / DESCRIPTION).write_text(json.dumps(values), encoding="utf-8")
        return folder

    return change


def test_a_bundle_is_found_by_name_and_by_folder(shipped, described):
    bundle = find_bundle("mini")
    assert (bundle.name, bundle.preset) == ("mini", "mini-MultiScale")
    assert (bundle.size, bundle.fps) == (VideoSize(64, 64, 32), 8)
    assert bundle.checkpoint == shipped / "mini" / "video" and bundle.motion_range == (0.0, 6.0)
    assert bundled() == ["mini"]
    assert find_bundle(described(name="other")).name == "other"


def test_no_folder_of_bundles_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr("lumina_core.pipelines.bundle.SHIPPED", tmp_path / "absent")
    assert bundled() == []
    with refused("bundle", "missing", "'mini'"):
        find_bundle("mini")


@pytest.mark.parametrize("fields, field, kind, facts", [
    ({"preset": "fast"}, "preset", "file", ["'fast'", "mini-MultiScale"]),
    ({"vae": "../vae"}, "vae", "file", ["'../vae'"]),
    ({"vae": "/vae"}, "vae", "file", ["'/vae'"]),
    ({"sound": "../sound"}, "sound", "file", ["'../sound'"]),
    ({"sound": "voice"}, "sound", "missing", ["'voice'"]),
    ({"checkpoint": "elsewhere"}, "checkpoint", "missing", ["'elsewhere'"]),
    ({"prompt": None}, "prompt", "value", ["'prompt'"]),
    ({"folder": "x"}, "bundle", "file", ["'folder'", "name, about"]),
    ({"promt": "x"}, "promt", "value", ["'promt'", "prompt"]),
    ({"fps": "fast"}, "fps", "value", ["'fast'"]),
    ({"motion_range": [1]}, "motion_range", "value", ["1", "2"]),
    ({"size": {"width": 64}}, "height", "value", ["size", "'height'"]),
])  # fmt: skip
def test_a_wrong_description_is_told_in_a_sentence(described, fields, field, kind, facts):
    with refused(field, kind, DESCRIPTION, *facts):
        read_bundle(described(**fields))


@pytest.mark.parametrize("text, field, kind", [("{", "bundle", "file"), ("[1]", None, "value")])
def test_a_description_that_is_no_object(described, text, field, kind):
    folder = described()
    (folder / DESCRIPTION).write_text(text, encoding="utf-8")
    with refused(field, kind, DESCRIPTION):
        read_bundle(folder)
    (folder / DESCRIPTION).unlink()
    with refused("bundle", "missing", DESCRIPTION):
        read_bundle(folder)


def test_the_networks_take_what_the_bundle_says(shelf, random):
    bundle = read_bundle(shelf / "mini")
    config = read_video_config(bundle.checkpoint)
    assert (config.channels, config.text_dim) == (BUNDLE_CHANNELS, TEXT_WIDTH)
    assert load_video_model(bundle.checkpoint).config == config
    assert read_vae_channels(bundle.vae) == BUNDLE_CHANNELS
    assert read_text_width(bundle.text_encoder) == TEXT_WIDTH
    factors = preview_factors(config)
    latents = random(1, BUNDLE_CHANNELS, 2, 4, 4)
    expected = ((latents.permute(0, 2, 3, 4, 1) @ torch.tensor(factors) + 1) / 2).clamp(0, 1)
    torch.testing.assert_close(latents_to_rgb(latents, factors), expected)


def test_the_released_factors_are_for_released_channels_alone(shelf, tiny_set, tmp_path):
    assert preview_factors(read_video_config(tiny_set.model)) == LATENT_RGB_FACTORS
    file = rewritten(shelf, tmp_path, {})
    assert preview_factors(read_video_config(file)) is None


def test_a_bundle_has_a_voice_or_none(shelf, described):
    bundle = read_bundle(shelf / "mini")
    assert bundle.audio == shelf / "mini" / "sound"
    files = AudioFiles.of(bundle.audio)
    config = read_audio_config(files.model)
    assert read_codec_channels(files.codec) == config.channels
    assert read_feature_widths(files.features) == (config.visual_dim, config.sync_dim, config.text_dim)
    assert read_bundle(described(sound=None)).audio is None


@pytest.fixture
def voiceless(described, tmp_path):
    """A bundle without a voice."""
    folder = described(sound=None)
    shutil.rmtree(folder / "sound")
    return folder


def test_a_voice_is_put_into_a_bundle(voiceless, tmp_path):
    parts = write_audio(tmp_path / "parts", seed=9)
    (parts / "features" / "clip" / "step-1").mkdir()
    (parts / "codec" / "vae" / "log.csv").write_text("of the training")
    recipe = AudioBundleRecipe(
        out=voiceless, network=parts / "model.safetensors", features=parts / "features", codec=parts / "codec"
    )
    assert write_audio_bundle(recipe) == voiceless / "sound"
    bundle = read_bundle(voiceless)
    assert bundle.audio == voiceless / "sound" and bundle.prompt == BUNDLE["prompt"]
    assert not (bundle.audio / "features/clip/step-1").exists() and not (bundle.audio / "codec/vae/log.csv").exists()
    for file in bundle.audio.rglob("*.safetensors"):
        weights, metadata = read_safetensors(file)
        kept, told = read_safetensors(parts / file.relative_to(bundle.audio))
        assert metadata == told | {"format": "pt"} and weights.keys() == kept.keys()
        stored = torch.bfloat16 if file.name == "model.safetensors" and file.parent == bundle.audio else torch.float16
        assert {value.dtype for value in weights.values() if value.is_floating_point()} == {stored}
    clip = torch.rand(16, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    plan = AudioPlan(steps=2, video_guidance=0, text_guidance=0)
    made, rounded = (
        audio_for_frames(AudioSettings(files=AudioFiles.of(folder), plan=plan), clip, 8.0).waveform
        for folder in (parts, bundle.audio)
    )
    assert 0 < (made - rounded).norm() < 0.05 * made.norm()


def test_parts_of_a_voice_that_do_not_fit_are_told(voiceless, tmp_path):
    parts = write_audio(tmp_path / "parts", seed=9)
    recipe = {"network": parts / "model.safetensors", "features": parts / "features", "codec": parts / "codec"}
    write_codec(tmp_path / "other", 1, channels=CHANNELS + 1)
    with refused("codec", "mismatch", "4 latent channels", "5"):
        write_audio_bundle(AudioBundleRecipe(out=voiceless, **recipe | {"codec": tmp_path / "other"}))
    with refused("bundle", "missing", DESCRIPTION):
        write_audio_bundle(AudioBundleRecipe(out=tmp_path, **recipe))
    assert not (voiceless / "sound").exists() and read_bundle(voiceless).audio is None


def test_pictures_that_are_made_again_keep_the_voice(described, tmp_path, monkeypatch):
    monkeypatch.setattr("lumina_core.mini.bundling._FITTED_CLIPS", 2)
    folder = described()
    parts = shutil.copytree(folder, tmp_path / "parts")
    description = {name: BUNDLE[name] for name in ("name", "about", "preset", "motion_range", "prompt")}
    recipe = BundleRecipe(
        out=folder, network=parts / "video", text_encoder=parts / "text_encoder", vae=parts / "vae", **description
    )
    write_mini_bundle(recipe)
    assert read_bundle(folder).audio == folder / "sound"
    shutil.rmtree(folder / "sound")
    write_mini_bundle(recipe)
    assert read_bundle(folder).audio is None


def test_the_kind_of_recipe_puts_the_voice_in(voiceless, tmp_path, capsys):
    parts = write_audio(tmp_path / "parts", seed=9)
    recipe = tmp_path / "voice.yaml"
    text = f"kind: sound_bundle\nout: {voiceless}\nnetwork: {parts / 'model.safetensors'}\n"
    recipe.write_text(f"{text}features: {parts / 'features'}\ncodec: {parts / 'codec'}\n", encoding="utf-8")
    assert main(["train", str(recipe)]) == 0
    assert capsys.readouterr().out == f"{voiceless / 'sound'}\n"
    assert read_bundle(voiceless).audio is not None
    shutil.rmtree(parts / "codec")
    assert main(["train", str(recipe)]) == 2
    assert f"{parts / 'codec'}, " in capsys.readouterr().err


def rewritten(shelf, folder, settings):
    """The bundle's network with other metadata."""
    from safetensors.torch import save_file

    weights, _ = read_safetensors(next((shelf / "mini" / "video").glob("*.safetensors")))
    file = folder / "network.safetensors"
    save_file(weights, file, metadata={VIDEO_METADATA_KEY: json.dumps(settings)})
    return file


@pytest.mark.parametrize("value, field, facts", [
    ("red", LATENT_RGB, []),
    ([[1, 2]] * 6, LATENT_RGB, []),
    ([[1, 2, float("nan")]] * 6, LATENT_RGB, []),
    ([[1, 2, "x"]] * 6, LATENT_RGB, []),
    ([], LATENT_RGB, []),
    ([[1, 2, 3]] * 5, "checkpoint", ["5", "6"]),
])  # fmt: skip
def test_wrong_preview_colors_are_told(shelf, tmp_path, value, field, facts):
    with refused(field, "file", "network.safetensors", LATENT_RGB, *facts):
        read_video_config(rewritten(shelf, tmp_path, {LATENT_RGB: value}))


@pytest.mark.parametrize("frames", [8, 9, 24, 33])
def test_the_compact_vae_streams_as_the_released_one(shelf, random, frames):
    vae = load_video_vae(shelf / "mini" / "vae")
    clip = random(frames, 16, 24, 3).sigmoid()
    latents = vae.encode(clip)
    assert latents.shape == (1, BUNDLE_CHANNELS, frames // 4 + frames % 8, 2, 3)
    whole = vae.decode(latents)
    assert whole.shape == clip.shape
    torch.testing.assert_close(torch.cat(list(vae.decode_stream(latents))), whole)


def test_the_compact_vae_in_tiles(shelf, random):
    vae = load_video_vae(shelf / "mini" / "vae")
    latents = random(1, BUNDLE_CHANNELS, 2, 12, 12)
    whole, tiled = vae.decode(latents), vae.decode(latents, tile=8)
    assert tiled.shape == whole.shape and (tiled - whole).abs().mean() < 0.1
    with refused("latents", "mismatch", "(1, 16, 2, 4, 4)", "(1, 6, "):
        vae.decode(random(1, 16, 2, 4, 4))


@pytest.mark.parametrize("fields, fact", [
    ({"wide": 0}, "wide 0"), ({"wide": True}, "wide True"), ({"deep": 3}, "deep 3"), ({"depth": None}, "depth"),
])  # fmt: skip
def test_a_wrong_compact_config_is_told(described, fields, fact):
    folder = described() / "vae"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | fields
    config = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for read in (load_video_vae, read_vae_channels):
        with refused("vae", "file", fact):
            read(folder)


def test_generate_without_models_takes_the_bundle_and_says_so(shipped, tmp_path, capsys):
    out = tmp_path / "clip.mp4"
    assert main(["generate", "--prompt", "a cat", "--out", str(out), *QUICK]) == 0
    told = capsys.readouterr()
    assert told.err.count("note: ") == 1 and "mini" in told.err
    assert told.out.startswith("64x64, 16 frames at 8 fps") and told.out.endswith(f"\n{out}\n")
    made = json.loads(read_metadata(out)["lumina_video"])
    assert made["plan"]["points"] == 4 and made["plan"]["patch"].startswith("2x4 | 0.1")


def test_generate_takes_a_bundle_by_folder_and_its_preset_can_be_replaced(shelf, tmp_path, capsys):
    out = tmp_path / "clip.mp4"
    flags = ["--bundle", str(shelf / "mini"), "--prompt", "a cat", "--out", str(out), "--preset", "mini", *QUICK]
    assert main(["generate", *flags]) == 0
    assert "note:" not in capsys.readouterr().err
    assert json.loads(read_metadata(out)["lumina_video"])["plan"]["patch"] == "1x2"


def test_models_that_do_not_go_together(shipped, tiny_set, tmp_path, capsys):
    bundle = shipped / "mini"
    own = {"--checkpoint": tiny_set.model, "--text-encoder": tiny_set.text, "--vae": tiny_set.vae}
    size = ["--width", "64", "--height", "64", "--frames", "16"]
    out = ["--out", str(tmp_path / "clip.mp4"), "--prompt", "a cat", *size]

    def numbers(**changed):
        return set(re.findall(r"\d+", error(**changed)))

    def error(**changed):
        models = {**own, **{f"--{key.replace('_', '-')}": value for key, value in changed.items()}}
        assert main(["generate", *out, *(str(part) for pair in models.items() for part in pair)]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1, err
        return err

    assert {"6", "16"} <= numbers(vae=bundle / "vae")
    assert {"6", "16"} <= numbers(checkpoint=bundle / "video")
    assert "--checkpoint" in error(bundle="mini")
    assert list(tmp_path.iterdir()) == []


def test_a_text_encoder_of_another_width_is_told_before_anything_is_loaded(tiny_set, tmp_path, capsys, monkeypatch):
    folder = shutil.copytree(tiny_set.text, tmp_path / "text")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 64}), encoding="utf-8")
    for name in ("load_video_vae", "load_text_encoder", "load_video_model"):
        monkeypatch.setattr(f"lumina_core.pipelines.video_stages.{name}", None)
    flags = ["--checkpoint", tiny_set.model, "--text-encoder", folder, "--vae", tiny_set.vae, "--prompt", "a cat"]
    size = ["--width", "64", "--height", "64", "--frames", "16", "--out", tmp_path / "clip.mp4"]
    assert main(["generate", *map(str, flags), *map(str, size)]) == 2
    assert {"64", "48"} <= set(re.findall(r"\d+", capsys.readouterr().err))


def test_no_models_and_no_bundle(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lumina_core.pipelines.bundle.SHIPPED", tmp_path)
    assert main(["generate", "--prompt", "a cat"]) == 2
    assert "--bundle FOLDER" in capsys.readouterr().err
    assert main(["demo"]) == 2
    assert "'mini'" in capsys.readouterr().err


def test_plan_counts_for_a_bundle(shipped, capsys):
    assert main(["plan", "--bundle", "mini", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["latent"], data["plan"]["points"]) == ([8, 8, 8], 31)
    assert main(["plan", "--preset", "mini-MultiScale", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["flops"] > 1000 * data["flops"]
    assert main(["plan", "--bundle", "mini", "--checkpoint", "x"]) == 2
    error = capsys.readouterr().err
    assert "--bundle" in error and "--checkpoint" in error


@pytest.mark.slow
def test_demo_writes_a_video_a_sheet_and_what_they_show(shipped, tmp_path, capsys):
    from PIL import Image

    out = tmp_path / "demo.mp4"
    assert main(["demo", "--out", str(out), "--points", "4", "--scale", "3", "--prompt", "a cat", "--motion", "2"]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[-1] == str(out)
    for words in ("a cat", "total 0.", "32 frames in", "motion score", f"contact sheet: {out.with_suffix('.png')}"):
        assert words in text
    assert re.search(r"motion +2\n", text)
    assert (probe(out).width, probe(out).height) == (192, 192)
    sheet = Image.open(out.with_suffix(".png"))
    assert sheet.width == 8 * 128 + 7 * 4 and sheet.height > 128
    assert sorted(file.name for file in tmp_path.iterdir()) == ["demo.mp4", "demo.png"]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["demo", "generate"])
def test_a_motion_score_that_was_never_learned_is_told(shipped, tmp_path, capsys, command):
    given = [command, "--out", str(tmp_path / "clip.mp4"), "--prompt", "a cat", *QUICK]
    for motion in ("7", "0.5 | 0.2: 7"):
        assert main([*given, "--motion", motion]) == 0
        captured = capsys.readouterr()
        assert re.search("motion 7 .* mini .* 0 to 6", captured.out + captured.err)
    assert main([*given, "--motion", "6"]) == 0
    captured = capsys.readouterr()
    assert "outside" not in captured.out + captured.err


def test_demo_of_one_frame_is_refused_and_a_short_one_has_no_score(shipped, tmp_path, capsys):
    out = ["--out", str(tmp_path / "demo.mp4"), "--points", "3"]
    assert main(["demo", *out, "--scale", "0"]) == 2
    assert "scale is 0" in capsys.readouterr().err
    assert main(["demo", *out, "--frames", "1", "--patch", "1x2"]) == 2
    assert "--frames is 1" in capsys.readouterr().err
    assert main(["demo", *out, "--frames", "4", "--patch", "1x2"]) == 0
    assert "motion score" not in capsys.readouterr().out
