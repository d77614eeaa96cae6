"""The timeline as a picture, in both renderers and both themes: its bands are there to be seen.

`python scripts/build_screenshots.py` puts the same pictures into docs/figures.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from frontend import FrontendMissing, run_node
from hosts import REPOSITORY, Host
from PIL import Image
from server import HostServer
from test_timeline import has_nodes2

PATCH_COLORS = {"2x4": (0x1F, 0x6F, 0x63), "2x2": (0x2A, 0x62, 0xA8), "1x2": (0x7A, 0x3F, 0xA0)}
GUIDANCE_LINE = (0xD0, 0x83, 0x3A)
LEAST_SHARE = 0.004
"""Of the picture's pixels, that each patch size's color fills."""


@pytest.fixture(scope="module")
def pictures(host: Host, server: HostServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image.Image]:
    """The four pictures, by renderer and theme."""
    if not has_nodes2(host):
        pytest.skip(f"ComfyUI {host.version} has no Nodes 2.0.")
    folder = tmp_path_factory.mktemp("pictures")
    script = REPOSITORY / "scripts" / "screenshots.mjs"
    try:
        printed = run_node(script, server.url, text=json.dumps({"timelines": str(folder)}))
    except FrontendMissing as error:
        pytest.skip(f"needs the front end: {error}")
    return {Path(line).stem: Image.open(line).convert("RGB") for line in printed.splitlines()}


def share(picture: Image.Image, color: tuple[int, int, int]) -> float:
    """Part of the pixels that have exactly this color."""
    counts = {found: count for count, found in picture.getcolors(picture.width * picture.height)}
    return counts.get(color, 0) / (picture.width * picture.height)


def brightness(picture: Image.Image) -> float:
    """Mean over the picture, 0 to 255."""
    return sum(value * count for value, count in enumerate(picture.convert("L").histogram())) / (
        picture.width * picture.height
    )


@pytest.mark.parametrize("renderer", ["classic", "nodes2"])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_bands_are_seen(pictures, renderer, theme):
    picture = pictures[f"timeline_{renderer}_{theme}"]
    for patch, color in PATCH_COLORS.items():
        assert share(picture, color) > LEAST_SHARE, patch
    assert share(picture, GUIDANCE_LINE) > 0.0002


@pytest.mark.parametrize("renderer", ["classic", "nodes2"])
def test_themes_differ(pictures, renderer):
    dark, light = (brightness(pictures[f"timeline_{renderer}_{theme}"]) for theme in ("dark", "light"))
    assert dark < 80 and light > 160
