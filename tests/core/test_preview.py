import pytest
import torch

from lumina_core.shapes.latents import LATENT_CHANNELS
from lumina_core.vae.latent_preview import LATENT_RGB_FACTORS, latents_to_rgb


def test_one_pixel_per_latent_pixel_in_range(random):
    rgb = latents_to_rgb(random(2, LATENT_CHANNELS, 3, 4, 5) * 10)
    assert rgb.shape == (2, 3, 4, 5, 3)
    assert rgb.min() == 0 and rgb.max() == 1


def test_zero_is_grey():
    assert (latents_to_rgb(torch.zeros(1, LATENT_CHANNELS, 1, 2, 2)) == 0.5).all()


def test_equals_a_loop_over_channels(random):
    latents = random(2, LATENT_CHANNELS, 2, 3, 4)
    expected = torch.full((2, 2, 3, 4, 3), 0.5)
    for channel, factors in enumerate(LATENT_RGB_FACTORS):
        for color, factor in enumerate(factors):
            expected[..., color] += latents[:, channel] * factor / 2
    torch.testing.assert_close(latents_to_rgb(latents), expected.clamp(0, 1))


def test_linear_until_clamped(random):
    # So small that no value reaches 0 or 1.
    first, second = (0.1 * random(1, LATENT_CHANNELS, 2, 3, 3) for _ in range(2))
    summed = latents_to_rgb(first + 2 * second) - 0.5
    torch.testing.assert_close(summed, latents_to_rgb(first) - 0.5 + 2 * (latents_to_rgb(second) - 0.5))
    assert summed.abs().max() < 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_keeps_dtype_and_leaves_its_input_alone(random, dtype):
    latents = random(1, LATENT_CHANNELS, 1, 2, 2).to(dtype)
    before = latents.clone()
    assert latents_to_rgb(latents).dtype == dtype
    assert torch.equal(latents, before)


def test_table_has_a_row_per_channel():
    assert [len(row) for row in LATENT_RGB_FACTORS] == [3] * LATENT_CHANNELS


def test_one_row_more_is_the_color_of_zeros():
    factors = [[0.5, 0.0, 0.0], [0.0, 0.5, 0.0], [-0.5, 0.0, 0.5]]
    rgb = latents_to_rgb(torch.zeros(1, 2, 1, 1, 1), factors)
    torch.testing.assert_close(rgb.flatten(), torch.tensor([0.25, 0.5, 0.75]))
    lit = latents_to_rgb(torch.ones(1, 2, 1, 1, 1), factors)
    torch.testing.assert_close(lit.flatten(), torch.tensor([0.5, 0.75, 0.75]))
