"""One real server per ComfyUI found; host tests are skipped, saying why, where there is none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from graphs import CLIP_FPS, SIZE
from hosts import HOW_TO_POINT, Host, find_hosts
from run_inside import Worker
from server import HostServer

from lumina_core.media.writer import write_video
from lumina_core.mini.draw import draw
from lumina_core.mini.world import Scene
from scripts.make_tiny_set import write_bundle, write_tiny_set

HOSTS, MISSED = find_hosts()
# Files whose tests mostly wait for a page.
IN_A_BROWSER = {"test_locales", "test_templates", "test_timeline", "test_timeline_images"}
# Files that compare whole runs with the core, which takes long and seldom differs between versions of ComfyUI.
WHOLE_RUNS = {
    "test_audio",
    "test_audio_parity",
    "test_compile",
    "test_ksampler",
    "test_languages",
    "test_live",
    "test_memory_use",
    "test_native_vae",
    "test_network_calls",
    "test_parity",
    "test_pipeline_equality",
    "test_solver",
    "test_step_cache",
    "test_workflow_values",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Pages and whole runs are slow in all hosts but the first: they repeat there what its successor shows."""
    for item in items:
        host = getattr(item, "callspec", None) and item.callspec.params.get("host")
        if host and host is not HOSTS[0] and item.path.stem in IN_A_BROWSER | WHOLE_RUNS:
            item.add_marker(pytest.mark.slow)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "host" in metafunc.fixturenames:
        hosts = [pytest.param(host, id=host.version) for host in HOSTS]
        metafunc.parametrize("host", hosts or [pytest.param(None, id="none")], scope="session", indirect=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto` is one process for each host, and one more for tests in a browser, which mostly wait."""
    return len(HOSTS) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Keep the tests of one host together, so that few servers start; those in a browser are a part of their own."""
    from xdist.scheduler import LoadScopeScheduling

    class ByHost(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, parameters = nodeid.partition("[")
            versions = [host.version for host in HOSTS if host.version in re.split(r"[-\]]", parameters)]
            file = file.partition("::")[0]
            if not versions:
                return file
            return f"{versions[0]} in a browser" if Path(file).stem in IN_A_BROWSER else versions[0]

    return ByHost(config, log)


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
    write_tiny_set(folder)
    return folder


@pytest.fixture(scope="session")
def random_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the shipped one's layout with random weights, voice included; not to be changed."""
    folder = tmp_path_factory.mktemp("bundle") / "mini"
    write_bundle(folder)
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
def worker(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """The host's Python with the pack imported, for the checks of inside/; one at a time."""
    with Worker(host, tmp_path_factory.mktemp("inside")) as running:
        yield running


@pytest.fixture(scope="session")
def probe(worker: Worker) -> dict:
    """What importing the pack did in a fresh process of the host: see probe_pack.py."""
    return worker.probe
