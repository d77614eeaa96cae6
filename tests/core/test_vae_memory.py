"""What decoding and encoding keep in memory, counted in bytes of tensors: no clock, no allocator."""

import pytest
import torch

from benchmarks.common.tensor_memory import TensorMemory
from lumina_core.cost.memory import DECODE_PEAK, ENCODE_PEAK
from lumina_core.media.writer import write_video
from lumina_core.shapes.latents import LatentSize
from lumina_core.vae.loader import RELEASED, load_video_vae
from lumina_core.vae.oom_decode import decode_stream

HEIGHT, WIDTH = 8, 12
FRAME = HEIGHT * WIDTH * 64 * 3 * 4
"""Bytes of a frame in float32."""
LATENT = HEIGHT * WIDTH * 32 * 4
"""Bytes of a latent frame of mean and log variance."""
TILES = (None, 6)


@pytest.fixture(scope="module")
def vae(tiny_set):
    return load_video_vae(tiny_set.vae)


def peak_of(run, *given) -> int:
    with TensorMemory() as live:
        run(*given)
    return live.peak


def latents_of(frames: int) -> torch.Tensor:
    return torch.randn(1, 16, frames // 4, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(3))


@pytest.mark.slow
@pytest.mark.parametrize("tile", TILES)
def test_a_longer_clip_costs_its_frames_alone(vae, tile):
    short, long = (peak_of(lambda x: vae.decode(x, tile), latents_of(frames)) for frames in (16, 32))
    assert long - short <= 16 * FRAME


@pytest.mark.slow
@pytest.mark.parametrize("tile", TILES)
def test_a_longer_clip_costs_nothing_where_frames_are_passed_on(vae, tile):
    def pass_on(latents):
        for _ in vae.decode_stream(latents, tile):
            pass

    short, long = (peak_of(pass_on, latents_of(frames)) for frames in (16, 32))
    assert long <= short


def test_a_file_is_written_without_the_clip_in_memory(vae, tmp_path):
    def write(latents):
        write_video(tmp_path / "clip.mp4", decode_stream(vae, latents, None, print), 8)

    # From the third batch on the first, the last and the present one are there.
    short, long = (peak_of(write, latents_of(frames)) for frames in (24, 40))
    assert long - short < FRAME


@pytest.mark.parametrize("kind", [torch.float32, torch.uint8])
def test_a_longer_clip_is_encoded_for_its_latents_alone(vae, kind):
    clips = [torch.zeros(frames, HEIGHT * 8, WIDTH * 8, 3, dtype=kind) for frames in (16, 32)]
    short, long = (peak_of(vae.encode, clip) for clip in clips)
    # The batches, the joined posterior, and the mean times the scale.
    assert long - short <= 4 * 2.5 * LATENT


def test_the_real_size_fits_as_the_node_says():
    """The released network in bfloat16 at 1248x704 on the meta device, which computes shapes alone."""
    from diffusers import AutoencoderKLCogVideoX

    pixels = 704 * 1248
    with torch.device("meta"):
        network = AutoencoderKLCogVideoX.from_config(RELEASED).to(torch.bfloat16).requires_grad_(False)
        latents = torch.empty(1, 16, 2, 704 // 8, 1248 // 8, dtype=torch.bfloat16)
        frames = torch.empty(1, 3, 8, 704, 1248, dtype=torch.bfloat16)
    for half, given, most in ((network.decoder, latents, DECODE_PEAK), (network.encoder, frames, ENCODE_PEAK)):
        with TensorMemory() as live:
            cache = None
            for _ in range(3):
                cache = half(given, conv_cache=cache)[1]
        assert 0.9 * most * 2 * pixels <= live.peak <= most * 2 * pixels


def test_bytes_encode_as_the_same_floats(vae):
    clip = torch.randint(0, 256, (9, 32, 24, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    assert torch.equal(vae.encode(clip), vae.encode(clip.float() / 255))


def full_beyond(vae, monkeypatch, width: int, calls: int = 0) -> list[int]:
    """The decoder has no memory for pictures wider than ``width`` after so many calls; widths it was asked for."""
    asked = []
    forward = vae.module.decoder.forward

    def run(latents, conv_cache=None):
        asked.append(latents.shape[-1])
        if latents.shape[-1] > width and len(asked) > calls:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(latents, conv_cache=conv_cache)

    monkeypatch.setattr(vae.module.decoder, "forward", run)
    return asked


@pytest.mark.slow
@pytest.mark.parametrize("calls", [0, 2])
def test_out_of_memory_goes_on_in_tiles_and_says_so_once(vae, monkeypatch, calls):
    latents, told = latents_of(32), []
    whole, tiled = vae.decode(latents), vae.decode(latents, WIDTH // 2)
    asked = full_beyond(vae, monkeypatch, WIDTH // 2, calls)
    frames = torch.cat(list(decode_stream(vae, latents, None, told.append)))
    assert asked[: calls + 1] == [WIDTH] * (calls + 1) and set(asked[calls + 1 :]) == {WIDTH // 2}
    assert torch.equal(frames, torch.cat([whole[: 8 * calls], tiled[8 * calls :]]))
    assert len(frames) == LatentSize(*latents.shape[2:]).pixel_frames
    assert len(told) == 1 and f"in tiles of {WIDTH // 2 * 8} pixels" in told[0]


def test_memory_enough_means_no_tiles(vae, monkeypatch):
    asked, told = full_beyond(vae, monkeypatch, WIDTH), []
    list(decode_stream(vae, latents_of(16), None, told.append))
    assert asked == [WIDTH] * 2 and not told


@pytest.mark.parametrize("tile", TILES)
def test_no_memory_for_tiles_either_is_an_error(vae, monkeypatch, tile):
    full_beyond(vae, monkeypatch, 1)
    with pytest.raises(torch.OutOfMemoryError):
        list(decode_stream(vae, latents_of(16), tile, lambda text: None))
