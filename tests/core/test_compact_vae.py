"""The small autoencoder: frame counts as the released VAE's, and parts equal to the whole."""

import pytest
import torch

from lumina_core.mini.autoencoder import write_autoencoder
from lumina_core.vae.codec import SCALE
from lumina_core.vae.compact import CompactVAE, CompactVAEConfig, LatentRange
from lumina_core.vae.loader import load_video_vae

SIZES = CompactVAEConfig(latent_channels=3, wide=8, narrow=4, depth=1)


@pytest.fixture
def vae():
    torch.manual_seed(0)
    module = CompactVAE(SIZES).eval().requires_grad_(False)
    for half in (module.encoder, module.decoder):
        half.range.mean.copy_(torch.tensor([0.5, -1.0, 2.0]))
        half.range.spread.copy_(torch.tensor([0.5, 1.0, 3.0]))
    return module


@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (4, 1), (8, 2), (9, 3), (16, 4), (17, 5)])
def test_frames_to_latents(vae, random, frames, latents):
    assert vae.encoder(random(2, 3, frames, 16, 24))[0].shape == (2, 6, latents, 2, 3)


@pytest.mark.parametrize(("latents", "frames"), [(1, 1), (2, 8), (3, 9), (4, 16), (5, 17)])
def test_latents_to_frames(vae, random, latents, frames):
    assert vae.decoder(random(2, 3, latents, 2, 3))[0].shape == (2, 3, frames, 16, 24)


def test_latent_frames_do_not_depend_on_one_another(vae, random):
    pixels, latents = random(1, 3, 16, 16, 16), random(1, 3, 4, 2, 2)
    parts = [vae.encoder(pixels[:, :, start : start + 4])[0] for start in range(0, 16, 4)]
    torch.testing.assert_close(torch.cat(parts, dim=2), vae.encoder(pixels)[0])
    parts = [vae.decoder(latents[:, :, start : start + 2])[0] for start in (0, 2)]
    torch.testing.assert_close(torch.cat(parts, dim=2), vae.decoder(latents)[0])


def test_range_is_taken_out_and_put_back(random):
    span = LatentRange(3)
    span.mean.copy_(torch.tensor([0.5, -1.0, 2.0]))
    span.spread.copy_(torch.tensor([0.5, 1.0, 3.0]))
    raw = random(2, 6, 4, 5, 5)
    mean, log_variance = span.shrink(raw).chunk(2, dim=1)
    torch.testing.assert_close(span.restore(mean), raw[:, :3])
    # What was one spread from the mean is one unit away, times the scale.
    edge = torch.cat([(span.mean + span.spread)[None, :, None, None, None], torch.zeros(1, 3, 1, 1, 1)], dim=1)
    torch.testing.assert_close(span.shrink(edge)[:, :3] * SCALE, torch.ones(1, 3, 1, 1, 1))
    drawn = raw[:, :3] + (raw[:, 3:] / 2).exp()
    torch.testing.assert_close(span.restore(mean + (log_variance / 2).exp()), drawn)


def test_it_is_written_and_read_as_it_was(vae, random, tmp_path):
    write_autoencoder(vae, tmp_path / "vae")
    loaded = load_video_vae(tmp_path / "vae")
    assert loaded.channels == 3
    frames = random(8, 16, 24, 3).sigmoid()
    wanted = vae.encoder(frames.permute(3, 0, 1, 2)[None] * 2 - 1)[0][:, :3] * SCALE
    torch.testing.assert_close(loaded.encode(frames), wanted, atol=1e-5, rtol=1e-4)
    latents = random(1, 3, 4, 2, 3)
    streamed = torch.cat(list(loaded.decode_stream(latents)))
    torch.testing.assert_close(streamed, loaded.decode(latents))
    pixels = vae.decoder(latents / SCALE)[0][0].permute(1, 2, 3, 0)
    torch.testing.assert_close(streamed, (pixels / 2 + 0.5).clamp(0, 1), atol=1e-5, rtol=1e-4)
