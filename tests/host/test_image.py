"""Lumina-Next's images in a host: the native nodes give what the core gives, and what is wrong is told."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from graphs import MODEL, NEGATIVE, NEXT, NEXT_ENCODER, NEXT_VAE, PROMPT, SIZE, SOUND_MODEL, Graph, Node
from PIL import Image
from reference import SEED, distance
from safetensors.torch import load_file, save_file
from test_failures import failure
from test_live import _progress
from test_validation import sentence

from lumina_core import SamplingPlan, sample
from lumina_core.checkpoints.image import load_image_model
from lumina_core.network.image import ImageConfig, ImageNextDiT
from lumina_core.text.gemma import load_text_encoder
from scripts.make_tiny_set import IMAGE_MODEL_FOLDER, IMAGE_SIDE, IMAGE_TEXT_FOLDER

SCALE = 0.13025
TOLERANCE = 1e-4
PLAN = SamplingPlan(patch="1x2", guidance="3", points=11, time_shift=4.0, rope="off")
CFG = 4.0


class Core:
    """The core's network and text encoder on the tiny set."""

    def __init__(self, models: Path):
        torch.set_num_threads(1)
        self.network = load_image_model(models / IMAGE_MODEL_FOLDER)
        self.encoder = load_text_encoder(models / IMAGE_TEXT_FOLDER)
        assert self.network.config.train_size.height * 8 == IMAGE_SIDE

    def sample(self, plan: SamplingPlan = PLAN, width=128, height=128, batch=1, guided=None) -> torch.Tensor:
        """Latents (B, 4, H, W) from the noise that the host draws."""
        network = ImageNextDiT(ImageConfig(**{**vars(self.network.config), "guided_channels": guided}))
        network.load_state_dict(self.network.state_dict())
        features = [self.encoder.encode([prompt]) for prompt in (PROMPT, NEGATIVE)]
        texts = [(found.features, found.mask) for found in features]
        shape = (batch, 4, height // 8, width // 8)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(SEED))
        return sample(network.eval(), noise[:, :, None], plan, *texts)[:, :, 0]


@pytest.fixture(scope="module")
def core(tiny_models) -> Core:
    return Core(tiny_models)


def image_model(graph: Graph, name: str = NEXT, dtype: str = "fp32", **inputs) -> Node:
    return graph.ours("ImageModelLoader", model_name=name, weight_dtype=dtype, **inputs)


def conditionings(graph: Graph, folder: str = NEXT_ENCODER) -> dict[str, list]:
    clip = graph.clip(folder)
    return {
        name: graph.ours("TextEncode", clip=clip[0], text=text)[0]
        for name, text in (("positive", PROMPT), ("negative", NEGATIVE))
    }


def empty(graph: Graph, width: int = 128, height: int = 128, batch: int = 1) -> list:
    return graph.add("EmptyLatentImage", width=width, height=height, batch_size=batch)[0]


def ksampler(graph: Graph, model: list, latent: list, **inputs) -> Node:
    defaults = {"seed": SEED, "steps": 10, "cfg": CFG, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    texts = {} if "positive" in inputs else conditionings(graph)
    return graph.add("KSampler", model=model, latent_image=latent, **{**defaults, **texts, **inputs})


def advanced(graph: Graph, model: list, latent: list) -> Node:
    return graph.add(
        "SamplerCustomAdvanced",
        noise=graph.add("RandomNoise", noise_seed=SEED)[0],
        guider=graph.add("CFGGuider", model=model, cfg=CFG, **conditionings(graph))[0],
        sampler=graph.add("KSamplerSelect", sampler_name="euler")[0],
        sigmas=graph.ours("Sigmas", points=PLAN.points, time_shift=PLAN.time_shift)[0],
        latent_image=latent,
    )


def saved(server, graph: Graph, samples: list) -> torch.Tensor:
    """Latents in the scale of the network."""
    save = graph.save_latent(samples)
    (file,) = server.prompt(graph.api).files(save.id)
    return load_file(file)["latent_tensor"] * SCALE


@pytest.mark.parametrize("node", [ksampler, advanced])
@pytest.mark.parametrize(("width", "height"), [(128, 128), (160, 80)])
def test_samplers_of_the_host_give_what_the_core_gives(server, core, node, width, height):
    graph = Graph()
    found = saved(server, graph, node(graph, image_model(graph)[0], empty(graph, width, height))[0])
    expected = core.sample(PLAN, width, height)
    assert float(expected.std()) > 0.1
    assert distance(found, expected) <= TOLERANCE


def test_a_batch_and_three_guided_channels(server, core):
    graph = Graph()
    model = image_model(graph, guided_channels="first 3")
    found = saved(server, graph, ksampler(graph, model[0], empty(graph, batch=2))[0])
    assert distance(found, core.sample(batch=2, guided=3)) <= TOLERANCE
    assert distance(found, core.sample(batch=2)) > 100 * TOLERANCE, "the fourth channel is not guided"


@pytest.mark.parametrize(("dtype", "limit"), [("bf16", 0.05), ("fp8_e4m3fn", 0.5)])
def test_other_precisions_stay_near(server, core, dtype, limit):
    graph = Graph()
    found = saved(server, graph, ksampler(graph, image_model(graph, dtype=dtype)[0], empty(graph))[0])
    assert 0 < distance(found, core.sample()) <= limit


def test_twice_the_trained_size_by_time_aware_positions(server, core):
    graph = Graph()
    found = saved(server, graph, advanced(graph, image_model(graph)[0], empty(graph, 256, 256))[0])
    assert distance(found, core.sample(PLAN.replace(rope="auto"), 256, 256)) <= TOLERANCE
    assert distance(found, core.sample(PLAN, 256, 256)) > 100 * TOLERANCE, "something is scaled"


def test_options_of_the_network_reach_it(server, core):
    graph = Graph()
    model = graph.ours("Extrapolation", model=image_model(graph)[0], method="interpolate", proportional=True)
    found = saved(server, graph, advanced(graph, model[0], empty(graph, 256, 128))[0])
    plan = PLAN.replace(rope="interpolate", proportional=True)
    assert distance(found, core.sample(plan, 256, 128)) <= TOLERANCE


def test_plain_text_encode_gives_the_same(server):
    runs = []
    for name in ("LuminaVideoTextEncode", "CLIPTextEncode"):
        graph = Graph()
        clip = graph.clip(NEXT_ENCODER)
        texts = [graph.add(name, clip=clip[0], text=text)[0] for text in (PROMPT, NEGATIVE)]
        model, latent = image_model(graph), empty(graph)
        sampled = ksampler(graph, model[0], latent, positive=texts[0], negative=texts[1], steps=2)
        runs.append(saved(server, graph, sampled[0]))
    assert torch.equal(*runs)


def test_picture_previews_and_progress(server):
    graph, steps = Graph(), 5
    sampled = ksampler(graph, image_model(graph)[0], empty(graph, 160, 96), steps=steps, seed=SEED + 1)
    vae = graph.add("VAELoader", vae_name=NEXT_VAE)
    picture = graph.add("VAEDecode", samples=sampled[0], vae=vae[0])
    save = graph.add("SaveImage", images=picture[0], filename_prefix="next")
    result = server.prompt(graph.api)
    (file,) = result.files(save.id)
    assert Image.open(file).size == (160, 96)
    assert len(result.previews) == steps
    shown = Image.open(io.BytesIO(result.previews[-1]))
    assert abs(shown.width / shown.height - 160 / 96) < 0.1


def test_interrupt_ends_the_run(server):
    graph, asked = Graph(), []
    sampled = ksampler(graph, image_model(graph)[0], empty(graph, 512, 512), steps=200)
    graph.save_latent(sampled[0])

    def interrupt(message, result):
        told = _progress(result.messages, sampled.id)
        if not asked and told and told[-1][0] >= 2:
            asked.append(told[-1][0])
            server.interrupt()

    result = server.prompt(graph.api, on_message=interrupt)
    assert asked and result.interrupted
    assert _progress(result.messages, sampled.id)[-1][0] < 100


def queue_fault(server, graph: Graph) -> str:
    """The sentence with which the queue refuses a graph for one of its nodes."""
    (node,) = server.submit_error(graph.api)["node_errors"].values()
    (error,) = node["errors"]
    return sentence(error["details"])


def test_wrong_checkpoints_are_told_when_queued(server):
    for name, what in ((MODEL, "Load Lumina-Video Model"), (SOUND_MODEL, "Load Lumina-Video Audio Model")):
        graph = Graph()
        graph.save_latent(ksampler(graph, image_model(graph, name)[0], empty(graph))[0])
        assert f"not a Lumina-Next image checkpoint; {what} reads it" in queue_fault(server, graph)
    graph = Graph()
    graph.save_latent(ksampler(graph, graph.model(NEXT)[0], empty(graph))[0])
    told = queue_fault(server, graph)
    assert "is a Lumina-Next image checkpoint, not a Lumina-Video checkpoint; Load Lumina-Next Model reads it" in told


def test_what_only_loading_shows(server, tiny_models):
    folder = server.base / "models" / "diffusion_models"
    weights = load_file(tiny_models / IMAGE_MODEL_FOLDER / "consolidated.00-of-01.safetensors")
    torch.save({"all_x_embedder.2-1.weight": torch.zeros(1)}, folder / "video.pth")
    save_file({key: value for key, value in weights.items() if key != "pad_token"}, folder / "unpadded.safetensors")
    told = {"video.pth": "Load Lumina-Video Model reads it", "unpadded.safetensors": "1 missing (pad_token)"}
    for name in told:
        graph = Graph()
        graph.save_latent(ksampler(graph, image_model(graph, name)[0], empty(graph))[0])
        assert told[name] in failure(server, graph)


def test_what_only_sampling_shows(server):
    graph = Graph()
    texts = conditionings(graph, "gemma-2-tiny")
    graph.save_latent(ksampler(graph, image_model(graph)[0], empty(graph), **texts)[0])
    assert "48 wide, and this checkpoint reads 40" in failure(server, graph)
    graph = Graph()
    graph.save_latent(ksampler(graph, image_model(graph)[0], empty(graph, 136, 128))[0])
    assert "width is 136, which patch size 1x2 does not divide; use a multiple of 16" in failure(server, graph)
    graph = Graph()
    latent = graph.ours("EmptyLatent", **SIZE, batch_size=1, patch="1x2")
    graph.save_latent(ksampler(graph, image_model(graph)[0], latent[0])[0])
    assert "the latents are video latents" in failure(server, graph)
