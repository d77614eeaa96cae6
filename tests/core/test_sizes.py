"""Picture sizes of an area, and the one for an aspect ratio."""

import json
from pathlib import Path

import pytest
from refusals import refused

from lumina_core.cost.flops import plan_cost
from lumina_core.cost.memory import RunSpec, memory_plan
from lumina_core.network.config import VideoConfig
from lumina_core.sampling.presets import PRESETS
from lumina_core.shapes.latents import VideoSize
from lumina_core.shapes.resolutions import AREAS, RATIOS, SIDE_MULTIPLE, area_sizes, nearest_size, pick_size

OFFICIAL = json.loads((Path(__file__).parents[1] / "fixtures" / "official_sizes.json").read_text(encoding="utf-8"))
"""What ``generate_crop_size_list`` of the official imgproc.py returned for each training size, in its order."""


def walked(side):
    """The official walk: down in width, up in height as far as the area allows; sides up to 4 : 1."""
    total = round((side / SIDE_MULTIPLE) ** 2)
    sizes, across, down = [], total, 1
    while across > 0:
        if max(across, down) / min(across, down) <= 4:
            sizes.append((across * SIDE_MULTIPLE, down * SIDE_MULTIPLE))
        if across * (down + 1) <= total:
            down += 1
        else:
            across -= 1
    return sizes


@pytest.mark.parametrize("side", OFFICIAL)
def test_the_lists_are_the_official_ones(side):
    assert " ".join(f"{width}x{height}" for width, height in area_sizes(int(side))) == OFFICIAL[side]


def test_every_released_area_has_its_official_list():
    assert {str(area.side) for name, area in AREAS.items() if name != "mini"} == set(OFFICIAL)


@pytest.mark.parametrize("side", [32, 48, 64, 96, 100, 128, 1024, 1440, 2048])
def test_other_areas_are_walked_as_the_official_ones(side):
    assert area_sizes(side) == walked(side)


@pytest.mark.parametrize("area", AREAS.values(), ids=AREAS)
def test_sizes_fill_the_area_and_turn(area):
    sizes, squares = area_sizes(area.side), (area.side // SIDE_MULTIPLE) ** 2
    for width, height in sizes:
        across, down = width // SIDE_MULTIPLE, height // SIDE_MULTIPLE
        assert across * down <= squares < (across + 1) * (down + 1)
        assert (height, width) in sizes


@pytest.mark.parametrize("name", AREAS)
def test_every_size_fits_every_patch_size_and_can_be_planned(name):
    area, config = AREAS[name], VideoConfig()
    presets = [plan for plan in PRESETS.values() if len(plan.patches) == 3]
    for width, height in area_sizes(area.side):
        for frames in (area.frames, 8, 1):
            latent = VideoSize(width, height, frames).latent()
            latent.check_all(config.patches)
        plan = presets[0]
        assert plan_cost(plan, latent, config).flops > 0
        run = RunSpec(config, VideoSize(width, height, area.frames).latent(), plan, dtype_size=2, weight_size=2)
        assert memory_plan(run).total > 0


@pytest.mark.parametrize("side", [0, 31, -5])
def test_an_area_below_one_square_is_told(side):
    with refused("own_side", "value", str(side), "32"):
        area_sizes(side, "own_side")


@pytest.mark.parametrize("width, height", [(1920, 1080), (1080, 1920), (640, 480), (500, 500), (3000, 100), (7, 911)])
def test_the_nearest_size_loses_the_smallest_share(width, height):
    sizes = area_sizes(256)

    def lost(size):
        scale = max(size[0] / width, size[1] / height)
        return 1 - size[0] * size[1] / (width * scale * height * scale)

    best = nearest_size(width, height, sizes)
    assert lost(best) == pytest.approx(min(map(lost, sizes)), abs=1e-12)


def test_a_picture_of_a_size_keeps_its_ratio():
    for size in area_sizes(256):
        width, height = nearest_size(*size, area_sizes(256))
        assert width * size[1] == height * size[0]


def test_the_usual_ratios():
    picked = {ratio: pick_size(960, ratio) for ratio in RATIOS}
    assert picked["16:9"] == (1248, 704), "as the official README has it"
    assert pick_size(512, "16:9") == (672, 384), "the default of the official generate.py"
    assert picked["1:1"] == (960, 960) and picked["4:1"] == (1920, 480) and picked["21:9"] == (1440, 608)
    assert [ratio for ratio in RATIOS if float(ratio.split(":")[0]) < float(ratio.split(":")[1])] == []


@pytest.mark.parametrize("text", ["16:9", " 16 : 9 ", "16：9", "1.7778", "1.7778:1", "1248x704", "1248 × 704"])
def test_ways_to_write_a_ratio(text):
    assert pick_size(960, text) == (1248, 704)


def test_every_size_of_an_area_can_be_asked_for():
    for width, height in area_sizes(256):
        assert pick_size(256, f"{width}x{height}") == (width, height)


@pytest.mark.parametrize("text", ["", "wide", "16:9:4", "0:9", "-1", "nan", "inf:1", "16/9", "x704", "16:"])
def test_what_is_no_ratio_is_told(text):
    with refused("own_ratio", "value", f"'{text}'", "16:9"):
        pick_size(960, text, "own_ratio")


def test_a_ratio_beyond_the_widest_is_told():
    for text in ("4.1:1", "1:5"):
        with refused("ratio", "value", f"'{text}'", "4:1"):
            pick_size(960, text)
    assert pick_size(960, "1:4") == (480, 1920)


def test_a_size_of_another_area_is_told_with_the_nearest():
    with refused("ratio", "value", "'1280x720'", "91", "960x960", "1280x704"):
        pick_size(960, "1280x720")
