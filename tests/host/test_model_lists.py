"""The loaders' lists are made by content: packs download different models under the same file names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from graphs import IMAGE, MODEL, NEXT, VAE, Graph
from safetensors.torch import load_file, save_file
from server import HostServer
from test_bundle import MINI
from test_validation import refusal

NAME, VAE_NAME = "consolidated.00-of-01.safetensors", "diffusion_pytorch_model.safetensors"
RELEASED = "consolidated.00-of-01.pth"
LOADERS = {
    "LuminaVideoModelLoader": "model_name",
    "LuminaVideoImageModelLoader": "model_name",
    "LuminaVideoVAELoader": "vae_name",
}
# Tensors of models that other packs download under these names.
FOREIGN = {"double_blocks.0.img_attn.qkv.weight": torch.zeros(2, 2)}
FOREIGN_VAE = {"encoder.conv_in.weight": torch.zeros(2, 2), "decoder.mid_block.resnets.0.norm1.weight": torch.zeros(2)}


@pytest.fixture
def models(server: HostServer) -> Iterator[Path]:
    with server.no_models():
        yield server.base / "models"


def offered(server: HostServer, loader: str) -> list[str]:
    """The files in the list of a loader, without the bundled entry."""
    field = server.object_info()[loader]["input"]["required"][LOADERS[loader]]
    values = field[0] if isinstance(field[0], list) else field[1]["options"]
    return sorted(value for value in values if not value.endswith("(bundled)"))


def put(tiny_models: Path, source: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(tiny_models / target.parent.name / source, target)


def test_files_of_other_models_are_not_listed(server: HostServer, models: Path, tiny_models: Path):
    networks, vaes = models / "diffusion_models", models / "vae"
    save_file(FOREIGN, networks / NAME)
    torch.save(FOREIGN, networks / RELEASED)
    save_file(FOREIGN_VAE, vaes / VAE_NAME)
    put(tiny_models, MODEL, networks / "mine.safetensors")
    put(tiny_models, NEXT, networks / "next.safetensors")
    put(tiny_models, VAE, vaes / "my_vae.safetensors")
    assert offered(server, "LuminaVideoModelLoader") == ["mine.safetensors"]
    assert offered(server, "LuminaVideoImageModelLoader") == ["next.safetensors"]
    assert offered(server, "LuminaVideoVAELoader") == ["my_vae.safetensors"]


def test_the_released_pth_is_listed_and_half_of_a_download_as_well(server: HostServer, models: Path, tiny_models: Path):
    networks = models / "diffusion_models"
    torch.save(load_file(tiny_models / "diffusion_models" / MODEL), networks / RELEASED)
    (networks / "half.pth").write_bytes((networks / RELEASED).read_bytes()[:1000])
    (networks / "empty.safetensors").touch()
    assert offered(server, "LuminaVideoModelLoader") == sorted([RELEASED, "empty.safetensors", "half.pth"])


def test_a_file_that_changes_is_looked_at_again(server: HostServer, models: Path, tiny_models: Path):
    file = models / "diffusion_models" / NAME
    save_file(FOREIGN, file)
    assert offered(server, "LuminaVideoModelLoader") == []
    put(tiny_models, MODEL, file)
    os.utime(file, ns=(1, 1))
    assert offered(server, "LuminaVideoModelLoader") == [NAME]


@pytest.mark.parametrize("name", [NAME, RELEASED])
def test_another_model_s_file_is_refused_when_the_prompt_is_queued(server: HostServer, models: Path, name: str):
    file = models / "diffusion_models" / name
    save_file(FOREIGN, file) if name == NAME else torch.save(FOREIGN, file)
    graph = Graph()
    loader = graph.model(name)
    clip = {"width": 64, "height": 64, "frames": 8, "preset": "mini", "seed": 1, "prompt": "", "negative_prompt": ""}
    graph.save_latent(graph.ours("MultiScaleSampler", model=loader[0], clip=graph.clip(MINI)[0], **clip)[0])
    told = refusal(server, graph, loader)
    assert name in told and "Lumina-Video checkpoint" in told


def test_another_vae_s_file_is_refused_when_the_prompt_is_queued(server: HostServer, models: Path):
    save_file(FOREIGN_VAE, models / "vae" / VAE_NAME)
    graph = Graph()
    loader = graph.ours("VAELoader", vae_name=VAE_NAME)
    latent = graph.ours("EmptyLatent", **IMAGE, batch_size=1, patch="1x2")
    image = graph.add("VAEDecode", samples=latent[0], vae=loader[0])
    graph.add("SaveImage", images=image[0], filename_prefix="test")
    assert VAE_NAME in refusal(server, graph, loader)
