"""The timeline in the real front end, driven in Chromium: the checks of timeline/*.mjs, each one a test.

Every check compares what stands in the text field, in the workflow file and in the prompt with what the timeline shows,
and fails when the console or an uncaught error names one of our files.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from frontend import FrontendMissing, run_node
from hosts import Host
from server import HostServer

SCRIPTS = Path(__file__).with_name("timeline")
NAMES = [
    name
    for file in sorted(SCRIPTS.glob("*.mjs"))
    for name in re.findall(r'^check\("([^"]+)"', file.read_text(encoding="utf-8"), re.MULTILINE)
]
NODES2_FROM = (0, 4)
"""The first ComfyUI whose front end has Nodes 2.0 as more than a first experiment."""


def has_nodes2(host: Host) -> bool:
    return tuple(int(part) for part in re.findall(r"\d+", host.version)[:2]) >= NODES2_FROM


@pytest.fixture(scope="module", params=["classic", "nodes2"])
def outcomes(request: pytest.FixtureRequest, host: Host, server: HostServer) -> dict[str, str | None]:
    """Why each check fails, or None, in one way of drawing nodes."""
    if request.param == "nodes2" and not has_nodes2(host):
        pytest.skip(f"ComfyUI {host.version} has no Nodes 2.0.")
    try:
        printed = run_node(SCRIPTS / "run.mjs", server.url, request.param, timeout=1500)
    except FrontendMissing as error:
        pytest.skip(f"needs the front end: {error}")
    return {result["name"]: result["error"] for result in json.loads(printed.splitlines()[-1])}


@pytest.mark.parametrize("name", NAMES)
def test_timeline(outcomes: dict[str, str | None], name: str):
    error = outcomes[name]
    assert error is None, error


def test_every_check_has_its_test(outcomes: dict[str, str | None]):
    assert sorted(outcomes) == sorted(NAMES)
