"""The cut of a picture to a size."""

import pytest
import torch

from lumina_core.train.crop import crop_to


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
