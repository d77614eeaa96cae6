"""The judge on drawn clips, whose truth is known, and on clips that show nothing it knows."""

import random
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from refusals import refused

from lumina_core.mini.draw import draw
from lumina_core.mini.judge import UNCLEAR, judge
from lumina_core.mini.world import BACKGROUNDS, COLORS, FASTEST, SHAPES, SIDE, Scene, random_scene

NAMES = ("color", "shape", "background", "direction")


def scenes(count, seed, outline_share=0.0):
    rng = random.Random(seed)
    for number in range(count):
        scene = random_scene(rng, held_out=number % 2 == 0, outline_share=outline_share)
        yield replace(scene, speed=rng.uniform(0.15, FASTEST))


def spoiled(clip, seed=0):
    """Through 48 x 48 pixels, a blur of sigma 1 and noise of 0.03: worse than the bundled autoencoder."""
    planes = clip.permute(0, 3, 1, 2)
    planes = F.interpolate(planes, size=48, mode="bilinear", antialias=True)
    planes = F.interpolate(planes, size=SIDE, mode="bilinear")
    kernel = torch.exp(-(torch.arange(-3, 4) ** 2) / 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, 7).expand(3, 1, 1, 7)
    planes = F.conv2d(F.pad(planes, (3, 3, 0, 0), mode="replicate"), kernel, groups=3)
    planes = F.conv2d(F.pad(planes, (0, 0, 3, 3), mode="replicate"), kernel.mT, groups=3)
    noise = torch.randn(planes.shape, generator=torch.Generator().manual_seed(seed))
    return (planes + 0.03 * noise).clamp(0, 1).permute(0, 2, 3, 1)


@pytest.mark.parametrize("outline_share", [0.0, 1.0])
def test_drawn_clips_are_read_back(outline_share):
    for scene in scenes(20, seed=1, outline_share=outline_share):
        found = judge(draw(scene))
        assert {name: getattr(found, name) for name in NAMES} == {name: getattr(scene, name) for name in NAMES}
        assert found.speed == pytest.approx(scene.speed, abs=0.02)
        assert found.confidence > 0.9
        assert found.radius == pytest.approx(scene.radius, rel=0.04)
        for frame, center in enumerate(found.centers):
            assert center == pytest.approx(scene.position(frame), abs=0.3)


def test_spoiled_clips_are_read_back():
    wrong = 0
    for number, scene in enumerate(scenes(40, seed=2)):
        found = judge(spoiled(draw(scene), number))
        wrong += sum(getattr(found, name) != getattr(scene, name) for name in NAMES)
        assert found.speed == pytest.approx(scene.speed, abs=0.05)
    assert wrong <= 1


@pytest.mark.parametrize("color", COLORS)
def test_every_color_on_every_background(color):
    for background in BACKGROUNDS:
        found = judge(spoiled(draw(Scene(color, "circle", background, "left", 1.0, 11.0), 8)))
        assert (found.color, found.background) == (color, background)


def test_direction_is_that_before_the_turn():
    scene = Scene("red", "square", "black", "up", FASTEST, 13.0)
    clip = draw(scene)
    assert scene.bounces() and judge(clip).direction == "up"
    assert judge(clip.flip(1)).direction == "down"


def test_a_still_clip_has_no_direction_and_no_speed():
    for shape in SHAPES:
        found = judge(spoiled(draw(Scene("cyan", shape, "brown", "left", 0.0, 12.0))))
        assert (found.shape, found.direction) == (shape, UNCLEAR)
        assert found.speed < 0.1


def test_a_picture_is_read_without_motion():
    found = judge(draw(Scene("white", "star", "grey", "left", 0.0, 12.0), 1))
    assert (found.color, found.shape, found.direction, found.speed) == ("white", "star", UNCLEAR, 0.0)


def test_sharpness_falls_with_blur():
    clip = draw(Scene("green", "square", "navy", "right", 0.5, 12.0))
    assert judge(clip).sharpness > 2 * judge(spoiled(clip)).sharpness > 0


@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
def test_nothing_is_found_on_an_empty_clip(level):
    noise = 0.02 * torch.randn(8, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(0))
    for clip in (torch.full((8, SIDE, SIDE, 3), level), (level + noise).clamp(0, 1)):
        found = judge(clip)
        assert (found.color, found.shape, found.direction) == (UNCLEAR,) * 3
        assert (found.confidence, found.radius, found.centers) == (0, 0, (None,) * 8)


def test_noise_alone_is_no_shape():
    found = judge(torch.rand(16, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(0)))
    assert found.shape == UNCLEAR
    assert found.direction == UNCLEAR


def test_a_shape_of_another_kind_is_unclear():
    clip = torch.zeros(8, SIDE, SIDE, 3)
    clip[:, 30:34, 10:50] = 1.0
    assert judge(clip).shape == UNCLEAR


def test_other_shapes_of_tensors_are_refused():
    with refused("clip", "value", "(4, 64, 64)"):
        judge(torch.zeros(4, 64, 64))
