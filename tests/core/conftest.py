from functools import partial
from pathlib import Path

import generate_case
import pytest
import torch

from scripts.make_tiny_set import MODEL_FOLDER, TEXT_FOLDER, VAE_FOLDER, write_tiny_set

# The networks of the tests are so small that threads mostly wait for one another.
torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where files are handed out to several processes, those with slow tests come first, so that none ends late."""
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)


class TinySet:
    """Paths of a complete tiny model set; read-only, tests copy what they change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.model = root / MODEL_FOLDER
        self.text = root / TEXT_FOLDER
        self.vae = root / VAE_FOLDER


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory) -> TinySet:
    return TinySet(write_tiny_set(tmp_path_factory.mktemp("tiny")))


@pytest.fixture
def out(tmp_path) -> Path:
    """A video file to write, in an empty folder of its own."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "clip.mp4"


@pytest.fixture
def make_clip(tiny_set, out):
    """make_clip(observer=None, out=..., **changes): a small clip of the tiny set, from its prompt to a file."""
    return partial(generate_case.make_clip, tiny_set, out=out)


@pytest.fixture
def random():
    """random(*shape): seeded normal values, another draw at each call."""
    generator = torch.Generator().manual_seed(1234)
    return lambda *shape: torch.randn(*shape, generator=generator)
