"""Patch vectors: order against explicit loops, and the way back."""

import pytest
import torch

from lumina_core import PatchSize
from lumina_core.network.patchify import patchify, unpatchify

PATCHES = [PatchSize(1, 2), PatchSize(2, 2), PatchSize(2, 4), PatchSize(4, 1)]


@pytest.mark.parametrize("patch", PATCHES, ids=str)
def test_order_against_loops(random, patch):
    """Tokens over (frames, height, width), numbers in a token over (frames, height, width, channel)."""
    x = random(2, 3, 4, 8, 12)
    tokens = []
    for f in range(0, 4, patch.frames):
        for h in range(0, 8, patch.space):
            for w in range(0, 12, patch.space):
                numbers = [
                    x[:, :, f + i, h + j, w + k]
                    for i in range(patch.frames)
                    for j in range(patch.space)
                    for k in range(patch.space)
                ]
                tokens.append(torch.cat(numbers, dim=1))
    assert torch.equal(patchify(x, patch), torch.stack(tokens, dim=1))


@pytest.mark.parametrize("patch", PATCHES, ids=str)
def test_unpatchify_is_the_inverse(random, patch):
    x = random(2, 3, 4, 8, 12)
    assert torch.equal(unpatchify(patchify(x, patch), patch, (4, 8, 12)), x)


@pytest.mark.parametrize("patch", PATCHES, ids=str)
def test_an_image_fills_a_temporal_patch_and_keeps_its_first_frame(random, patch):
    x = random(2, 3, 1, 8, 12)
    tokens = patchify(x, patch)
    assert torch.equal(tokens, patchify(x.repeat(1, 1, patch.frames, 1, 1), patch))
    changed = tokens.unflatten(-1, (patch.frames, -1)).clone()
    changed[:, :, 1:] += 1
    found = unpatchify(changed.flatten(2), patch, (1, 8, 12))
    assert torch.equal(found, x)
