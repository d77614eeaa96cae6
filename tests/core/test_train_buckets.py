"""Picture sizes of one area, and the cut to them."""

import pytest
import torch

from lumina_core.errors import LuminaError
from lumina_core.train.buckets import SQUARE, best_bucket, bucket_sizes, crop_to


def walked(side):
    """The official walk: down in width, up in height as far as the area allows; sides up to 4 : 1."""
    total = round((side / SQUARE) ** 2)
    sizes, across, down = [], total, 1
    while across > 0:
        if max(across, down) / min(across, down) <= 4:
            sizes.append((across * SQUARE, down * SQUARE))
        if across * (down + 1) <= total:
            down += 1
        else:
            across -= 1
    return sizes


@pytest.mark.parametrize("side", [32, 48, 64, 100, 256, 512, 960, 1024])
def test_the_sizes_are_the_official_ones(side):
    assert bucket_sizes(side) == walked(side)


def test_known_sizes():
    assert bucket_sizes(32) == [(32, 32)]
    assert (256, 256) in bucket_sizes(256) and (480, 128) in bucket_sizes(256)
    assert all(width * height <= 256**2 for width, height in bucket_sizes(256))


@pytest.mark.parametrize("side", [0, 31, -5])
def test_an_area_below_one_square_is_told(side):
    with pytest.raises(LuminaError, match=f"size is {side}, expected 32"):
        bucket_sizes(side)


@pytest.mark.parametrize("width, height", [(1920, 1080), (1080, 1920), (640, 480), (500, 500), (3000, 100), (7, 911)])
def test_the_best_size_loses_the_smallest_share(width, height):
    sizes = bucket_sizes(256)

    def lost(size):
        scale = max(size[0] / width, size[1] / height)
        return 1 - size[0] * size[1] / (width * scale * height * scale)

    best = best_bucket(width, height, sizes)
    assert lost(best) == pytest.approx(min(map(lost, sizes)), abs=1e-12)


def test_a_picture_of_a_size_keeps_it():
    for size in bucket_sizes(256):
        width, height = best_bucket(*size, bucket_sizes(256))
        assert width * size[1] == height * size[0]


@pytest.mark.parametrize("height, width", [(33, 64), (64, 33), (200, 301), (32, 32), (97, 41)])
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_the_cut_has_the_size_and_the_values_in_range(height, width, kind):
    frames = (torch.rand(2, height, width, 3, generator=torch.Generator().manual_seed(0)) > 0.5).to(kind)
    frames = frames * 255 if kind == torch.uint8 else frames
    found = crop_to(frames, (64, 32))
    assert found.shape == (2, 32, 64, 3) and found.dtype == kind and found.is_contiguous()
    assert found.min() >= 0 and found.max() <= (255 if kind == torch.uint8 else 1)


def test_the_middle_is_kept_and_not_squeezed():
    frame = torch.zeros(1, 64, 192, 3)
    frame[:, :, 64:128] = 1  # a white square in the middle of a wide picture
    assert crop_to(frame, (64, 64)).min() > 0.99
    tall = frame.transpose(1, 2)
    assert crop_to(tall, (64, 64)).min() > 0.99
    assert torch.equal(crop_to(frame[:, :, 64:128], (64, 64)), frame[:, :, 64:128])


def test_fine_patterns_become_grey_not_moire():
    stripes = (torch.arange(256) % 2).float()[None, None, :, None].expand(1, 256, 256, 3).contiguous()
    small = crop_to(stripes, (32, 32))[:, :, 2:-2]
    assert (small - 0.5).abs().max() < 0.02
