from pathlib import Path

import pytest
import torch

from scripts.make_tiny_set import MODEL_FOLDER, TEXT_FOLDER, VAE_FOLDER, write_tiny_set


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
def random():
    """random(*shape): seeded normal values, another draw at each call."""
    generator = torch.Generator().manual_seed(1234)
    return lambda *shape: torch.randn(*shape, generator=generator)
