"""One real server per ComfyUI found; host tests are skipped, saying why, where there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from graphs import CLIP_FPS, SIZE
from hosts import HOW_TO_POINT, REPOSITORY, Host, find_hosts, host_environment
from server import HostServer

from lumina_core.media.writer import write_video
from lumina_core.mini.draw import draw
from lumina_core.mini.world import Scene

HOSTS, MISSED = find_hosts()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "host" in metafunc.fixturenames:
        # One process for all tests of a host, where they are handed out to several.
        hosts = [pytest.param(host, id=host.version, marks=pytest.mark.xdist_group(host.version)) for host in HOSTS]
        metafunc.parametrize("host", hosts or [pytest.param(None, id="none")], scope="session", indirect=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto` is one process for each host."""
    return max(1, len(HOSTS))


@pytest.fixture(scope="session")
def host(request: pytest.FixtureRequest) -> Host:
    """A ComfyUI checkout; every test that asks for it runs once per checkout found."""
    if request.param is None:
        pytest.skip(f"needs a ComfyUI. {' '.join(MISSED)} {HOW_TO_POINT}")
    return request.param


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with the tiny random set."""
    folder = tmp_path_factory.mktemp("tiny") / "models"
    script = REPOSITORY / "scripts" / "make_tiny_set.py"
    subprocess.run([sys.executable, str(script), str(folder)], check=True)
    return folder


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A silent video, which lies in the server's input folder, too."""
    frames = draw(Scene("white", "circle", "navy", "right", 0.8, 12), SIZE["frames"])
    return write_video(tmp_path_factory.mktemp("clips") / "clip.mp4", frames, CLIP_FPS).path


@pytest.fixture(scope="session")
def server(host: Host, tiny_models: Path, clip: Path) -> Iterator[HostServer]:
    """The running host with our pack and the tiny set; one at a time."""
    with HostServer(host, tiny_models) as running:
        running.put_input(clip)
        yield running


@pytest.fixture(scope="session")
def probe(host: Host) -> dict:
    """What importing the pack did in a fresh process of the host: see probe_pack.py."""
    script = Path(__file__).with_name("probe_pack.py")
    command = [str(host.python), str(script)]
    done = subprocess.run(
        command, cwd=host.path, env=host_environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.strip().splitlines()[-1])
