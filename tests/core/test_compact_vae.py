"""The small autoencoder behind the released VAE's interface: frames counted alike, streaming that changes nothing."""

import pytest
import torch

from lumina_core.compact_vae import CompactVAE, CompactVAEConfig
from lumina_core.mini.autoencoder import measure_range, write_autoencoder
from lumina_core.vae import load_video_vae, read_vae_channels
from lumina_core.vae_codec import SCALE, VideoVAE

CONFIG = CompactVAEConfig(latent_channels=6, wide=16, narrow=8, depth=1)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return CompactVAE(CONFIG).eval().requires_grad_(False)


@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (4, 1), (5, 2), (8, 2), (9, 3), (17, 5), (32, 8), (33, 9)])
def test_frames_become_latent_frames(network, random, frames, latents):
    found, cache = network.encoder(random(1, 3, frames, 16, 24))
    assert found.shape == (1, 12, latents, 2, 3) and cache is None


@pytest.mark.parametrize(("latents", "frames"), [(1, 1), (2, 8), (3, 9), (5, 17), (8, 32)])
def test_latent_frames_become_frames(network, random, latents, frames):
    found, cache = network.decoder(random(2, 6, latents, 2, 3))
    assert found.shape == (2, 3, frames, 16, 24) and cache is None


def test_latent_frames_do_not_depend_on_one_another(network, random):
    clip = random(1, 3, 16, 16, 16)
    whole = network.encoder(clip)[0]
    parts = [network.encoder(clip[:, :, start : start + 4])[0] for start in range(0, 16, 4)]
    torch.testing.assert_close(torch.cat(parts, dim=2), whole)
    latents = random(1, 6, 4, 2, 2)
    halves = [network.decoder(part)[0] for part in latents.split(2, dim=2)]
    torch.testing.assert_close(torch.cat(halves, dim=2), network.decoder(latents)[0])


def test_the_first_frame_alone_is_a_latent_frame_of_its_repeats(network, random):
    clip = random(1, 3, 9, 16, 16)
    repeats = torch.cat([clip[:, :, :1].expand(-1, -1, 4, -1, -1), clip[:, :, 1:]], dim=2)
    torch.testing.assert_close(network.encoder(clip)[0], network.encoder(repeats)[0])


def test_an_item_does_not_depend_on_its_batch(network, random):
    clips = random(3, 3, 8, 16, 16)
    together = network.encoder(clips)[0]
    torch.testing.assert_close(torch.cat([network.encoder(clip[None])[0] for clip in clips]), together)
    back = network.decoder(together[:, :6])[0]
    torch.testing.assert_close(torch.cat([network.decoder(item[None, :6])[0] for item in together]), back)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8])
def test_a_stream_gives_the_frames_of_one_pass(network, random, count):
    latents = random(1, 6, count, 4, 4)
    chunks = list(VideoVAE(network).decode_stream(latents))
    wanted = network.decoder(latents / SCALE)[0][0].permute(1, 2, 3, 0).mul(0.5).add(0.5).clamp(0, 1)
    assert count < 4 or len(chunks) > 1
    torch.testing.assert_close(torch.cat(chunks), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("frames", [1, 8, 9, 16, 33])
def test_encoding_through_the_codec_gives_the_latents_of_one_pass(network, frames):
    clip = torch.rand(frames, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    mean = network.encoder(clip.permute(3, 0, 1, 2)[None] * 2 - 1)[0].chunk(2, dim=1)[0]
    torch.testing.assert_close(VideoVAE(network).encode(clip), mean * SCALE, atol=1e-5, rtol=1e-5)


def test_handed_on_latents_have_unit_size_after_the_scale(network, random):
    clips = [random(1, 3, 8, 16, 16) * 0.3 + 0.2 for _ in range(6)]
    before = network.decoder(network.encoder(clips[0])[0].chunk(2, dim=1)[0])[0]
    measure_range(network, iter(clips))
    latents = torch.cat([network.encoder(clip)[0].chunk(2, dim=1)[0] for clip in clips]) * SCALE
    torch.testing.assert_close(latents.mean(dim=(0, 2, 3, 4)), torch.zeros(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(latents.std(dim=(0, 2, 3, 4)), torch.ones(6), atol=1e-4, rtol=0)
    # What comes out of it all stays as it was.
    after = network.decoder(network.encoder(clips[0])[0].chunk(2, dim=1)[0])[0]
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-4)


def test_the_range_scales_the_spread_of_the_posterior_too(network, random):
    clip = random(1, 3, 8, 16, 16)
    mean, log_variance = network.encoder(clip)[0].chunk(2, dim=1)
    for half in (network.encoder, network.decoder):
        half.range.spread.mul_(2)
    shrunk_mean, shrunk = network.encoder(clip)[0].chunk(2, dim=1)
    torch.testing.assert_close(shrunk_mean, mean / 2)
    torch.testing.assert_close((shrunk / 2).exp(), (log_variance / 2).exp() / 2)


def test_a_written_autoencoder_loads_through_the_one_loader(network, random, tmp_path):
    measure_range(network, iter([random(1, 3, 8, 16, 16)]))
    write_autoencoder(network, tmp_path / "vae")
    vae = load_video_vae(tmp_path / "vae")
    assert vae.channels == read_vae_channels(tmp_path / "vae") == 6
    latents = random(1, 6, 4, 2, 2)
    assert torch.equal(vae.decode(latents), VideoVAE(network).decode(latents))
    assert sorted(path.name for path in (tmp_path / "vae").iterdir()) == [
        "config.json", "diffusion_pytorch_model.safetensors",
    ]  # fmt: skip
