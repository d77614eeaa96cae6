import itertools
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from refusals import refused
from safetensors.torch import load_file, save_file

from lumina_core.errors import LuminaError
from lumina_core.shapes.latents import LatentSize
from lumina_core.vae.loader import RELEASED, SCALE, WEIGHTS, latent_count, load_video_vae
from lumina_core.vae.tiling import Blend, cut, plan_tiles


@pytest.fixture(scope="module")
def vae(tiny_set):
    return load_video_vae(tiny_set.vae)


@pytest.fixture(scope="module")
def reference(tiny_set):
    from diffusers import AutoencoderKLCogVideoX

    return AutoencoderKLCogVideoX.from_pretrained(tiny_set.vae, torch_dtype=torch.float32).eval()


def official_decode(reference, latents):
    """As the released generate.py: unscale, decode, to 0..1."""
    with torch.no_grad():
        decoded = reference.decode(latents / SCALE).sample.float()[0]
    return ((decoded + 1.0) / 2.0).clamp(0.0, 1.0).permute(1, 2, 3, 0)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_decode_equals_diffusers_bit_for_bit(vae, reference, random, count):
    latents = random(1, 16, count, 6, 4)
    wanted = official_decode(reference, latents)
    chunks = list(vae.decode_stream(latents))
    assert torch.equal(torch.cat(chunks), wanted)
    assert torch.equal(vae.decode(latents), wanted)
    assert wanted.shape == (LatentSize(count, 6, 4).pixel_frames, 48, 32, 3)
    assert max(map(len, chunks)) <= 9 and len(chunks) == max(count // 2, 1)


def test_decode_in_bfloat16_equals_diffusers(tiny_set, reference, random):
    import copy

    latents = random(1, 16, 3, 4, 4)
    vae = load_video_vae(tiny_set.vae, dtype=torch.bfloat16)
    half = copy.deepcopy(reference).to(torch.bfloat16)
    with torch.no_grad():
        wanted = half.decode((latents / SCALE).to(torch.bfloat16)).sample.float()[0]
    assert torch.equal(vae.decode(latents), ((wanted + 1.0) / 2.0).clamp(0.0, 1.0).permute(1, 2, 3, 0))


def test_the_clip_is_decoded_as_frames_are_taken(vae, random, monkeypatch):
    calls = []
    forward = vae.module.decoder.forward
    monkeypatch.setattr(vae.module.decoder, "forward", lambda *a, **k: calls.append(1) or forward(*a, **k))
    stream = vae.decode_stream(random(1, 16, 8, 4, 4))
    assert not calls
    next(stream), next(stream)
    assert len(calls) == 2


@pytest.mark.parametrize("frames", [1, 8, 9, 16, 17])
def test_encode_equals_diffusers(vae, reference, random, frames):
    pixels = random(frames, 32, 24, 3).sigmoid()
    with torch.no_grad():
        posterior = reference.encode((pixels * 2 - 1).permute(3, 0, 1, 2)[None]).latent_dist
    found = vae.encode(pixels)
    assert found.shape == (1, 16, latent_count(frames), 4, 3)
    assert LatentSize(*found.shape[2:]).pixel_frames == frames
    torch.testing.assert_close(found, posterior.mean * SCALE, rtol=0, atol=1e-6)


@pytest.mark.parametrize("frames", [0, 2, 4, 7, 10, 12, 15])
def test_frame_counts_that_have_no_latents(frames):
    with pytest.raises(LuminaError, match=f"has {frames} frames"):
        latent_count(frames)


def test_tiles_cover_everything_with_the_overlap_asked_for():
    for height, width, tile, overlap in itertools.product((5, 8, 30), (6, 13), (4, 7, 12), (0, 1, 2)):
        tiles = plan_tiles(height, width, tile, overlap)
        seen = torch.zeros(height, width)
        for one in tiles:
            assert one.height == min(tile, height) and one.width == min(tile, width)
            cut(seen, one).add_(1)
        assert seen.min() >= 1
        tops = sorted({one.top for one in tiles})
        assert all(b - a <= tile - overlap for a, b in itertools.pairwise(tops))


def merge(parts, tiles, scale):
    blend = Blend(tiles, scale)
    for part, tile in zip(parts, tiles, strict=True):
        blend.add(part.clone(), tile)
    return blend.take()


def test_blending_equal_tiles_gives_the_picture_back(random):
    picture = random(2, 40, 56, 3)
    tiles = plan_tiles(10, 14, 6, 2)
    parts = [picture[:, 4 * t.top : 4 * (t.top + 6), 4 * t.left : 4 * (t.left + 6)] for t in tiles]
    torch.testing.assert_close(merge(parts, tiles, 4), picture)


def test_one_tile_is_the_whole_picture(vae, random):
    latents = random(1, 16, 3, 6, 4)
    assert torch.equal(vae.decode(latents, tile=6), vae.decode(latents))


def test_each_tile_runs_over_the_full_time(vae, random):
    """Streaming keeps one conv cache per tile: the result is that of whole clips decoded tile by tile."""
    latents = random(1, 16, 5, 10, 6)
    tiles = plan_tiles(10, 6, 6, 2)
    assert len(tiles) == 2
    wanted = merge([vae.decode(cut(latents, tile)) for tile in tiles], tiles, 8)
    torch.testing.assert_close(vae.decode(latents, tile=6, overlap=2), wanted, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_tiled_is_near_untiled(vae, random):
    latents = torch.nn.functional.interpolate(random(1, 16, 4, 4, 4), size=(4, 20, 20), mode="trilinear")
    whole, tiled = vae.decode(latents), vae.decode(latents, tile=12, overlap=4)
    psnr = -10 * (whole - tiled).square().mean().log10()
    assert whole.std() > 0.1
    assert psnr > 20, f"PSNR {psnr:.1f} dB"


@pytest.mark.parametrize("tile, overlap, words", [
    (3, None, "tile is 3"), (0, None, "tile is 0"), (8, 5, "overlap is 5"), (8, -1, "overlap is -1"),
])  # fmt: skip
def test_bad_tiles(vae, random, tile, overlap, words):
    with pytest.raises(LuminaError, match=words):
        vae.decode_stream(random(1, 16, 2, 8, 8), tile, overlap)


@pytest.mark.parametrize("shape", [(16, 2, 4, 4), (2, 16, 2, 4, 4), (1, 4, 2, 4, 4), (1, 16, 0, 4, 4)])
def test_bad_latent_shapes_are_told_at_the_call(vae, shape):
    with refused("latents", "mismatch"):
        vae.decode_stream(torch.zeros(shape))


def test_values_that_are_not_finite(tiny_set, vae):
    latents = torch.zeros(1, 16, 2, 4, 4)
    latents[0, 0, 0, 0, 0] = float("inf")
    with refused("latents", "numerics"):
        vae.decode_stream(latents)
    broken = load_video_vae(tiny_set.vae)
    broken.module.decoder.conv_out.conv.bias.data.fill_(float("nan"))
    with refused("vae", "numerics", "float32"):
        broken.decode(torch.zeros(1, 16, 2, 4, 4))


@pytest.mark.parametrize("shape", [(8, 12, 16, 3), (8, 16, 16), (8, 16, 16, 4)])
def test_bad_frames(vae, shape):
    with refused("frames"):
        vae.encode(torch.zeros(shape))


@pytest.fixture
def files(tiny_set, tmp_path):
    folder = shutil.copytree(tiny_set.vae, tmp_path / "models" / "vae")
    return SimpleNamespace(folder=folder, weights=folder / WEIGHTS, config=folder / "config.json")


def test_every_layout_gives_the_same_frames(files, vae, random, tmp_path):
    latents = random(1, 16, 2, 4, 4)
    wanted = vae.decode(latents)
    single = tmp_path / "single.safetensors"
    save_file(load_file(files.weights), single, metadata={"config": files.config.read_text()})
    for path in (files.folder, files.folder.parent, files.weights, single, str(single)):
        assert torch.equal(load_video_vae(path).decode(latents), wanted)


def test_a_file_without_config_is_read_as_the_released_vae(files):
    files.config.unlink()
    with refused("file", "file"):
        load_video_vae(files.weights)


def test_the_released_values_are_those_of_diffusers():
    import inspect

    from diffusers import AutoencoderKLCogVideoX

    defaults = inspect.signature(AutoencoderKLCogVideoX.__init__).parameters
    assert {key: defaults[key].default for key in RELEASED} == RELEASED | {
        "block_out_channels": tuple(RELEASED["block_out_channels"])
    }


def test_missing_files(tmp_path):
    with refused("vae", "missing"):
        load_video_vae(tmp_path / "none.safetensors")
    with refused("vae", "missing", "diffusion_pytorch_model"):
        load_video_vae(tmp_path)
    (tmp_path / "vae.ckpt").write_bytes(b"")
    with refused("vae", "file"):
        load_video_vae(tmp_path / "vae.ckpt")


def test_keys_must_fit_exactly(files):
    weights = load_file(files.weights)
    weights["extra.weight"] = weights.pop("decoder.conv_in.conv.weight")
    save_file(weights, files.weights)
    with refused("file", "file", "1", "decoder.conv_in.conv.weight", "extra.weight"):
        load_video_vae(files.folder)


def test_cut_off_file(files):
    files.weights.write_bytes(files.weights.read_bytes()[:5000])
    with refused("file", "file"):
        load_video_vae(files.folder)


@pytest.mark.parametrize("change, words", [
    ({"scaling_factor": 0.7}, r"scaling_factor 0.7 \(expected 1.15258426\)"),
    ({"_class_name": "AutoencoderKL"}, "_class_name AutoencoderKL"),
    ({"latent_channels": 4}, "latent_channels 4"),
    ({"block_out_channels": [8, 8, 8]}, r"block_out_channels \[8, 8, 8\]"),
    ({"block_out_channels": 8}, "block_out_channels 8"),
    ({"norm_num_groups": 3}, "is not valid"),
])  # fmt: skip
def test_another_vae(files, change, words):
    files.config.write_text(json.dumps(json.loads(files.config.read_text()) | change))
    with pytest.raises(LuminaError, match=words):
        load_video_vae(files.folder)


@pytest.mark.parametrize("text, words", [("{", "is not JSON"), ("[]", "is a list")])
def test_broken_config(files, text, words):
    files.config.write_text(text)
    with pytest.raises(LuminaError, match=words):
        load_video_vae(files.folder)
