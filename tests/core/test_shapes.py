"""Sizes of clips, latents and token grids, and what refuses to fit."""

import pytest
from refusals import refused

from lumina_core import LatentSize, PatchSize, VideoSize
from lumina_core.shapes.latents import nearest_multiple

P12, P22, P24 = PatchSize(1, 2), PatchSize(2, 2), PatchSize(2, 4)
ALL = (P24, P22, P12)


@pytest.mark.parametrize(
    "clip, latent, tokens",
    [
        (VideoSize(1248, 704, 96), LatentSize(24, 88, 156), (82368, 41184, 10296)),
        (VideoSize(672, 384, 64), LatentSize(16, 48, 84), (16128, 8064, 2016)),
        (VideoSize(64, 32, 8), LatentSize(2, 4, 8), (16, 8, 2)),
        (VideoSize(256, 256, 1), LatentSize(1, 32, 32), (256, 256, 64)),
    ],
)
def test_latent_size_and_tokens(clip, latent, tokens):
    assert clip.latent() == latent
    assert tuple(latent.tokens(p) for p in (P12, P22, P24)) == tokens
    latent.check_all(ALL)
    assert latent.shape(16) == (16, latent.frames, latent.height, latent.width)


def test_grid_is_counted_in_patches():
    assert LatentSize(24, 88, 156).grid(P24) == (12, 22, 39)
    assert LatentSize(1, 8, 12).grid(P22) == (1, 4, 6)


@pytest.mark.parametrize("latent, pixels", [(1, 1), (2, 8), (3, 9), (16, 64), (24, 96)])
def test_frames_that_the_vae_decodes(latent, pixels):
    assert LatentSize(latent, 4, 4).pixel_frames == pixels


@pytest.mark.parametrize("name, size", [("width", VideoSize(650, 384, 64)), ("height", VideoSize(672, 390, 64))])
def test_side_must_divide_by_the_vae(name, size):
    pixels = getattr(size, name)
    nearest = nearest_multiple(pixels, 16)
    with refused(name, "value", str(pixels), "16", "32", str(nearest)):
        size.latent()


@pytest.mark.parametrize("pixels", [0, -16])
def test_side_must_be_positive(pixels):
    with refused("width", "value", str(pixels), "16"):
        VideoSize(pixels, 64, 4).latent()


@pytest.mark.parametrize("frames, nearest", [(2, 4), (7, 8), (0, 4), (-4, 4), (97, 96)])
def test_frames_must_divide_by_the_vae(frames, nearest):
    with refused("frames", "value", str(frames), str(nearest)):
        VideoSize(64, 64, frames).latent()


@pytest.mark.parametrize(
    "size, patch, field, facts",
    [
        (
            LatentSize(3, 8, 8),
            P24,
            "frames",
            ["12", "3 latent frames", "2x4", "multiple of 8"],
        ),
        (LatentSize(2, 8, 10), P24, "width", ["80", "2x4", "multiple of 32", "64"]),
        (LatentSize(2, 9, 8), P12, "height", ["72", "1x2", "multiple of 16"]),
        (
            LatentSize(2, 8192, 8192),
            P22,
            "size",
            ["65536x65536", "8 frames", "16777216 tokens", "2x2", "4194304"],
        ),
    ],
)
def test_patch_that_does_not_fit(size, patch, field, facts):
    with refused(field, "value", *facts):
        size.check(patch)


def test_the_cure_satisfies_the_whole_schedule():
    """The advice on division is the coarsest patch's, that on tokens the finest's."""
    with refused("height", "value", "multiple of 32"):
        LatentSize(2, 9, 8).check_all(ALL)
    with refused("frames", "value", "multiple of 8"):
        LatentSize(3, 8, 8).check_all((P12, P22))
    with refused("size", "value", "8388608 tokens", "1x2"):
        LatentSize(2, 4096, 4096).check_all(ALL)


def test_an_image_fits_every_patch():
    LatentSize(1, 8, 8).check_all(ALL)


@pytest.mark.parametrize("size", [LatentSize(80, 8, 8), LatentSize(2, 320, 8), LatentSize(2, 8, 1024)])
def test_no_axis_has_an_end_of_its_own(size):
    """The released table of 64 x 128 x 128 positions is no limit."""
    size.check_all(ALL)
