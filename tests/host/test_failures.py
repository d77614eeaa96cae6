"""What only shows while running (a bad file, a network that gives NaN) ends in one sentence and leaves no file."""

import argparse
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from graphs import IMAGE, MODEL, PROMPT, SIZE, Graph, custom_sampler, guided, preset_parts, sampler_node, sigmas
from safetensors.torch import load_file, save_file
from server import HostError, HostServer
from test_validation import sentence

from lumina_core.network.config import VideoConfig
from lumina_core.network.video import MultiScaleNextDiT
from lumina_core.text.gemma import MAX_TOKENS
from scripts.make_tiny_set import MODEL_FOLDER, random_weights

WEIGHTS = "consolidated.00-of-01.safetensors"


class RunsCode:
    """Unpickling it would make a file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def failure(server: HostServer, graph: Graph) -> str:
    """The sentence that the prompt ends with, or is refused with when it is queued; no output is left."""
    before = _outputs(server)
    with pytest.raises(HostError) as caught:
        server.prompt(graph.api)
    assert _outputs(server) == before
    details = caught.value.details
    if "node_errors" in details:
        ((error,),) = [node["errors"] for node in details["node_errors"].values()]
        return sentence(error["details"].partition(" - ")[2])
    return sentence(details["exception_message"].strip())


def _outputs(server: HostServer) -> set[Path]:
    return {path for folder in ("output", "temp") for path in (server.base / folder).rglob("*") if path.is_file()}


def saved_video(graph: Graph, latent: list) -> None:
    vae = graph.ours("VAELoader", vae_name="cogvideox-tiny/diffusion_pytorch_model.safetensors")
    images = graph.add("VAEDecode", samples=latent, vae=vae[0])
    video = graph.add("CreateVideo", images=images[0], fps=24.0)
    graph.add("SaveVideo", video=video[0], filename_prefix="video/test", format="mp4", codec="h264")


def run_model(server: HostServer, name: str, **inputs) -> str:
    """How an all-in-one run to a video fails with model `name`."""
    graph = Graph()
    saved_video(graph, sampler_node(graph, model=graph.model(name)[0], points=4, **inputs)[0])
    return failure(server, graph)


@pytest.fixture
def models(server) -> Path:
    """The running server's model folder."""
    return server.base / "models"


@pytest.fixture(scope="module")
def weights(tiny_models) -> dict[str, torch.Tensor]:
    return load_file(tiny_models / MODEL_FOLDER / WEIGHTS)


@pytest.fixture
def write(models):
    """write(weights, name): a checkpoint in the server's folder; returns the name that the loader lists."""

    def write(weights: dict, name: str) -> str:
        save_file(weights, models / "diffusion_models" / f"{name}.safetensors")
        return f"{name}.safetensors"

    return write


def test_patch_size_that_the_checkpoint_lacks(server, weights, write):
    few = {key: value for key, value in weights.items() if ".4-2." not in key and ".2-2." not in key}
    name = write(few, "one_patch")
    assert "Patch size 2x4 is not in this checkpoint, which has 1x2; use" in run_model(server, name)
    graph = Graph()
    graph.ours("PatchSchedule", model=graph.model(name)[0], patch="1x2 | 0.5: 2x2")
    latent = graph.ours("EmptyLatent", **SIZE, batch_size=1, patch="1x2")
    text = graph.ours("TextEncode", clip=graph.clip()[0], text="")
    sampled = graph.add(
        "KSampler", model=["2", 0], positive=text[0], negative=text[0], latent_image=latent[0], seed=1, steps=1,
        cfg=1.0, sampler_name="euler", scheduler="simple", denoise=1.0,
    )  # fmt: skip
    graph.save_latent(sampled[0])
    assert "Patch size 2x2 is not in this checkpoint" in failure(server, graph)


@pytest.mark.parametrize("field", ["patch", "guidance", "motion", "negative_motion"])
@pytest.mark.parametrize("staged", [True, False])
def test_schedule_that_comes_over_a_link(server, field, staged):
    """Its text is not known when the prompt is queued."""
    graph = Graph()
    text = graph.add("PrimitiveString", value="6 | soon: 3")
    if staged:
        parts = preset_parts(graph, "f24F96R960-MultiScale")
        noise = graph.ours("Noise", seed=1)
        out = custom_sampler(graph, guided(graph, parts), sigmas(graph, parts, 4)[0], parts.latent[0], noise)
        for node in graph.api.values():
            if field in node["inputs"]:
                node["inputs"][field] = text[0]
    else:
        out = sampler_node(graph, points=4, **{field: text[0]})
    saved_video(graph, out[0])
    message = failure(server, graph)
    assert f"{field} schedule '6 | soon: 3'" in message and "Segment " in message


def test_size_that_the_network_cannot_take_although_the_latent_is_of_another_node(server):
    graph = Graph()
    parts = preset_parts(graph, "f24F96R960-MultiScale")
    odd = graph.ours("EmptyLatent", width=80, height=64, frames=8, batch_size=1, patch="1x2")
    noise = graph.ours("Noise", seed=1)
    saved_video(graph, custom_sampler(graph, guided(graph, parts), sigmas(graph, parts, 4)[0], odd[0], noise)[0])
    assert "width is 80, which patch size 2x4 does not divide; use a multiple of 32" in failure(server, graph)


def test_encoder_of_another_width(server, write):
    config = VideoConfig(dim=64, layers=2, heads=4, kv_heads=2, ffn_hidden=256, text_dim=40, cond_dim=64)
    with torch.device("meta"):
        shapes = MultiScaleNextDiT(config).state_dict()
    message = run_model(server, write(random_weights(shapes, 0), "other_text"))
    assert "The text features are 48 wide, and this checkpoint reads 40; use the text encoder" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_checkpoint_with_nan_or_infinity(server, weights, write, value):
    key = "layers.1.feed_forward.w1.weight"
    bad = weights[key].clone()
    bad[3, 5] = value
    message = run_model(server, write({**weights, key: bad}, "broken"))
    assert f"broken.safetensors holds NaN or infinite values in {key}; download it again" in message


def test_truncated_checkpoint(server, models):
    data = (models / "diffusion_models" / MODEL).read_bytes()
    for name, kept in (("half", len(data) // 2), ("start", 100), ("empty", 0)):
        (models / "diffusion_models" / f"{name}.safetensors").write_bytes(data[:kept])
        message = run_model(server, f"{name}.safetensors")
        assert f"{name}.safetensors" in message and "download" in message


def test_foreign_checkpoint(server, models):
    vae = models / "vae" / "cogvideox-tiny" / "diffusion_pytorch_model.safetensors"
    shutil.copyfile(vae, models / "diffusion_models" / "foreign.safetensors")
    message = run_model(server, "foreign.safetensors")
    assert "foreign.safetensors is not a Lumina-Video checkpoint" in message


def test_checkpoint_with_a_key_too_few(server, weights, write):
    some = {key: value for key, value in weights.items() if key != "layers.1.attention.wo.weight"}
    message = run_model(server, write(some, "gap"))
    assert "gap.safetensors does not fit" in message and "layers.1.attention.wo.weight" in message


@pytest.mark.parametrize("protocol", [2, 4])
def test_settings_that_carry_code_are_refused_and_not_run(server, models, tmp_path, protocol):
    marker = tmp_path / "ran"
    folder = models / "diffusion_models" / f"code_in_settings_{protocol}"
    folder.mkdir()
    shutil.copyfile(models / "diffusion_models" / MODEL, folder / WEIGHTS)
    settings = argparse.Namespace(rope_theta=256.0, results_dir=RunsCode(marker))
    torch.save(settings, folder / "model_args.pth", pickle_protocol=protocol)
    message = run_model(server, f"{folder.name}/{WEIGHTS}")
    assert "model_args.pth contains a pickled call" in message and "mkdir" in message and "was not loaded" in message
    assert not marker.exists()


def test_weights_that_carry_code_are_refused_and_not_run(server, models, tmp_path):
    marker = tmp_path / "ran"
    torch.save({"layers": RunsCode(marker)}, models / "diffusion_models" / "code.pth")
    message = run_model(server, "code.pth")
    assert message.startswith("code.pth")
    assert not marker.exists()


@pytest.mark.parametrize("sampler", ["all in one", "staged", "KSampler"])
@pytest.mark.parametrize("fault", ["nan", "constant"])
def test_bad_first_step(server, weights, write, fault, sampler):
    scale = 3e38 if fault == "nan" else 0.0
    last = re.compile(r"all_final_layer\..*\.linear\.")
    bad = {key: value * scale if last.match(key) else value for key, value in weights.items()}
    name = write(bad, f"{fault}_output")
    if sampler == "all in one":
        message = run_model(server, name)
    else:
        graph = Graph()
        parts = preset_parts(graph, "f24F96R960-MultiScale")
        next(node for node in graph.api.values() if "model_name" in node["inputs"])["inputs"]["model_name"] = name
        if sampler == "staged":
            noise = graph.ours("Noise", seed=1)
            guider = guided(graph, parts)
            out = custom_sampler(graph, guider, sigmas(graph, parts, 4)[0], parts.latent[0], noise)
        else:
            out = graph.add(
                "KSampler", model=parts.model[0], positive=parts.conditioning[0], negative=parts.conditioning[1],
                latent_image=parts.latent[0], seed=1, steps=3, cfg=1.0, sampler_name="euler", scheduler="simple",
                denoise=1.0,
            )  # fmt: skip
        saved_video(graph, out[0])
        message = failure(server, graph)
    expected = "NaN or infinite values; try another dtype" if fault == "nan" else "a constant frame"
    assert "The first step gave" in message and expected in message


def test_bad_vae_files(server, models):
    vae = models / "vae"
    good = (vae / "cogvideox-tiny" / "diffusion_pytorch_model.safetensors").read_bytes()
    (vae / "half_vae.safetensors").write_bytes(good[: len(good) // 2])
    shutil.copyfile(models / "diffusion_models" / MODEL, vae / "foreign_vae.safetensors")
    for name in ("half_vae.safetensors", "foreign_vae.safetensors"):
        graph = Graph()
        latent = graph.ours("EmptyLatent", **IMAGE, batch_size=1, patch="1x2")
        loader = graph.ours("VAELoader", vae_name=name)
        image = graph.add("VAEDecode", samples=latent[0], vae=loader[0])
        graph.add("SaveImage", images=image[0], filename_prefix="test")
        assert name in failure(server, graph)


def test_encoder_folder_without_weights(server, models):
    folder = models / "text_encoders" / "no_weights"
    folder.mkdir()
    shutil.copyfile(models / "text_encoders" / "gemma-2-tiny" / "config.json", folder / "config.json")
    graph = Graph()
    saved_video(graph, sampler_node(graph, clip=graph.clip("no_weights")[0], points=4)[0])
    message = failure(server, graph)
    assert "no_weights" in message and "download the weights" in message


def test_long_prompt_is_cut_and_the_node_says_so(server):
    words = " ".join(["a cat on the water"] * 2000)
    graph = Graph()
    encode = graph.ours("TextEncode", clip=graph.clip()[0], text=words)
    node = sampler_node(graph, prompt=words, points=3, **IMAGE, patch="1x2")
    shown = graph.add("ConditioningConcat", conditioning_to=encode[0], conditioning_from=encode[0])
    short = graph.ours("MotionScore", positive=encode[0], negative=shown[0], motion="6", negative_motion="2")
    latent = graph.ours("EmptyLatent", **IMAGE, batch_size=1, patch="1x2")
    guider = graph.ours(
        "Guider", model=graph.model()[0], positive=short[0], negative=short[0], guidance="2", renorm=2.0
    )
    times, noise = graph.ours("Sigmas", points=3, time_shift=8.0), graph.ours("Noise", seed=1)
    graph.save_latent(custom_sampler(graph, guider, times[0], latent[0], noise)[0])
    graph.save_latent(node[0])
    result = server.prompt(graph.api)
    for key in (encode.id, node.id):
        (said,) = result.outputs(key)["text"]
        found = re.search(r"(\d+) tokens too long", said)
        # Five words a time, the system prompt's and BOS beside them.
        assert found and int(found[1]) > 10_000 - MAX_TOKENS, said
        assert str(MAX_TOKENS) in said


def test_prompt_that_fits_says_nothing(server):
    graph = Graph()
    node = sampler_node(graph, prompt=PROMPT, negative_prompt="", points=3)
    graph.save_latent(node[0])
    assert "text" not in server.prompt(graph.api).outputs(node.id)
