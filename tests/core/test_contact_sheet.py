"""The picture of a clip's frames that `demo` writes."""

import pytest
import torch

from lumina_core.media.contact_sheet import contact_sheet, enlarge


def test_enlarged_pixels_are_the_same_ones(random):
    frames = random(2, 3, 4, 3)
    large = enlarge(frames, 3)
    assert large.shape == (2, 9, 12, 3)
    for row in range(3):
        for column in range(3):
            assert torch.equal(large[:, row::3, column::3], frames)


def test_a_contact_sheet_shows_first_and_last_frame():
    frames = torch.linspace(0, 1, 20)[:, None, None, None].expand(20, 8, 8, 3)
    sheet = contact_sheet(frames, columns=4, side=16)
    assert sheet.shape == (16, 4 * 16 + 3 * 4, 3)
    shown = [float(sheet[0, start, 0]) for start in (0, 20, 40, 60)]
    assert shown == pytest.approx([0, 6 / 19, 13 / 19, 1])
    captioned = contact_sheet(frames, "a cat on the water " * 3, columns=4, side=16)
    assert torch.equal(captioned[:16], sheet) and captioned[16:].min() < 0.5 < captioned[16:].max()
    assert contact_sheet(frames, "红色", columns=4, side=16).shape == sheet.shape
