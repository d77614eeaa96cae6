"""A LoRA that our trainer writes, in the host's own LoraLoaderModelOnly: it gives what the core gives with it."""

import pytest
import torch
from graphs import Graph, sampler_node
from reference import SEED, Core, distance, noise, run_saved
from safetensors.torch import save_file

from lumina_core import PRESETS, load_video_model
from lumina_core.checkpoints.lora import apply_lora
from lumina_core.train.lora import add_lora, lora_tensors
from lumina_core.train.recipe import Lora
from scripts.make_tiny_set import MODEL_FOLDER

NAME = "tiny-lora.safetensors"
POINTS = 7
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def lora(tiny_models, tmp_path_factory):
    """A LoRA file on every layer that training takes; random, as an untrained one changes nothing."""
    network = load_video_model(tiny_models / MODEL_FOLDER)
    add_lora(network, Lora(rank=4, alpha=2.0), seed=0)
    numbers = torch.Generator().manual_seed(6)
    weights = {
        key: value if key.endswith("alpha") else 0.2 * torch.randn(value.shape, generator=numbers)
        for key, value in lora_tensors(network)
    }
    file = tmp_path_factory.mktemp("lora") / NAME
    save_file(weights, file)
    return file


@pytest.fixture
def run(server, lora):
    """run(strength): latents through /prompt, with no LoRA for None."""
    folder = server.base / "models" / "loras"
    folder.mkdir(exist_ok=True)
    (folder / NAME).write_bytes(lora.read_bytes())

    def run(strength: float | None) -> torch.Tensor:
        graph = Graph()
        model = graph.model()
        if strength is not None:
            model = graph.add("LoraLoaderModelOnly", model=model[0], lora_name=NAME, strength_model=strength)
        return run_saved(server, graph, sampler_node(graph, model=model[0], points=POINTS, seed=SEED)[0])

    return run


def test_strength_zero_is_no_lora(run):
    plain = run(None)
    assert torch.equal(run(0.0), plain)
    assert distance(run(1.0), plain) > 0.1
    assert torch.equal(run(None), plain), "the LoRA stayed in the model"


@pytest.mark.parametrize("strength", [1.0, -0.6])
def test_the_host_gives_what_the_core_gives(server, run, lora, tiny_models, strength):
    core = Core(tiny_models)
    apply_lora(core.network, lora, strength)
    plan = PRESETS["f24F96R960-MultiScale"].replace(points=POINTS)
    found, wanted = run(strength), core.sample(plan, noise())
    assert distance(found, wanted) <= TOLERANCE
    assert "lora key not loaded" not in server.log
