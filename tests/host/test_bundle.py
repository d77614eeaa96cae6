"""The bundle that ships with the pack, through a real host: a random one of the same layout, 6 latent channels."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
import torch
from graphs import VAE, Graph, Node
from hosts import REPOSITORY
from PIL import Image
from reference import distance, saved_latents
from server import HostError, HostServer
from test_workflows import twin

from lumina_core import LuminaError
from lumina_core.checkpoints.video import read_video_config
from lumina_core.pipelines.bundle import DESCRIPTION, SHIPPED, read_bundle
from lumina_core.vae.latent_preview import latents_to_rgb
from lumina_core.vae.loader import SCALE

MINI = "mini (bundled)"
WORKFLOW = "1_mini_text_to_video"
LATENT = (1, 6, 8, 8, 8)
CLIP = {"width": 64, "height": 64, "frames": 32}
POINTS = 7
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def bundled(server: HostServer, random_bundle: Path) -> Iterator[HostServer]:
    """The host with the random bundle in place of the shipped one, beside the tiny released set."""
    with server.bundle(random_bundle):
        yield server


def model(graph: Graph) -> Node:
    return graph.model(MINI)


def all_in_one(graph: Graph, prompt: str = "a cat on the water", **more) -> Node:
    fields = {"preset": "mini-MultiScale", "negative_prompt": "", "seed": 3, "points": POINTS, **CLIP, **more}
    return graph.ours("MultiScaleSampler", model=model(graph)[0], clip=graph.clip(MINI)[0], prompt=prompt, **fields)


def latents(server: HostServer, graph: Graph, samples: list) -> torch.Tensor:
    save = graph.save_latent(samples)
    return saved_latents(server.prompt(graph.api), save.id)


def conditioning(graph: Graph) -> Node:
    clip = graph.clip(MINI)
    positive, negative = (graph.ours("TextEncode", clip=clip[0], text=text) for text in ("a cat on the water", ""))
    return graph.ours("MotionScore", positive=positive[0], negative=negative[0], motion="1.5", negative_motion="0.25")


def ksampler(graph: Graph, latent: list, denoise: float = 1.0) -> Node:
    both = conditioning(graph)
    return graph.add(
        "KSampler", model=model(graph)[0], positive=both[0], negative=both[1], latent_image=latent, seed=3, steps=4,
        cfg=3.0, sampler_name="euler", scheduler="simple", denoise=denoise,
    )  # fmt: skip


def decoded(graph: Graph, samples: list) -> Node:
    return graph.add("VAEDecode", samples=samples, vae=graph.ours("VAELoader", vae_name=MINI)[0])


def test_the_bundle_stands_first_in_every_loader(bundled):
    info = bundled.object_info()
    for name, field in (("ModelLoader", "model_name"), ("VAELoader", "vae_name"), ("TextEncoderLoader", "folder")):
        spec = info[f"LuminaVideo{name}"]["input"]["required"][field]
        names = spec[0] if isinstance(spec[0], list) else spec[1]["options"]
        assert names[0] == MINI and len(names) > 1, name


def test_the_first_workflow_gives_a_video_with_previews(bundled):
    prompt = twin(WORKFLOW)
    assert sorted(file.stem for file in (REPOSITORY / "workflows" / "api").glob("*.json"))[0] == WORKFLOW
    (sampler,) = [node for node in prompt.values() if node["class_type"] == "LuminaVideoMultiScaleSampler"]
    sampler["inputs"]["points"] = POINTS
    result = bundled.prompt(prompt)
    (file,) = [file for key, node in prompt.items() if node["class_type"] == "SaveVideo" for file in result.files(key)]
    with av.open(str(file)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        written = container.metadata["prompt"]
    assert (len(frames), frames[0].shape) == (CLIP["frames"], (256, 256, 3))
    assert len(result.previews) == POINTS - 1
    assert str(bundled.base) not in written, "the file tells where the pack lies"


def test_another_prompt_gives_other_frames(bundled):
    files = []
    for text in ("a cat on the water", "a fire over the sea"):
        graph = Graph()
        image = decoded(graph, all_in_one(graph, text)[0])
        save = graph.add("SaveImage", images=image[0], filename_prefix="bundle")
        files.append(bundled.prompt(graph.api).files(save.id))
    assert [len(names) for names in files] == [CLIP["frames"]] * 2
    first, second = (Image.open(names[0]) for names in files)
    assert first.size == second.size == (64, 64)
    assert first.tobytes() != second.tobytes()
    assert len(set(first.tobytes())) > 1, "an empty picture"


def test_last_preview_has_the_bundles_colors(bundled, random_bundle):
    graph = Graph()
    save = graph.save_latent(all_in_one(graph)[0])
    result = bundled.prompt(graph.api)
    found = saved_latents(result, save.id)
    assert found.shape == LATENT and found.isfinite().all()
    factors = read_video_config(read_bundle(random_bundle).checkpoint).latent_rgb
    expected = latents_to_rgb(found * SCALE, factors)[0, 0].flatten()
    small = Image.open(io.BytesIO(result.previews[-1])).resize((8, 8), Image.BOX)
    shown = torch.tensor(list(small.tobytes())) / 255
    assert float(torch.corrcoef(torch.stack([shown, expected]))[0, 1]) > 0.9


def test_samplers_of_the_host_adapt_the_empty_latent(bundled):
    graph = Graph()
    empty = graph.ours("EmptyLatent", **CLIP, batch_size=1, patch="1x2")
    found = latents(bundled, graph, ksampler(graph, empty[0])[0])
    assert found.shape == LATENT and found.isfinite().all()


def test_staged_nodes_equal_the_all_in_one_node(bundled):
    graph = Graph()
    preset = graph.ours("Preset", preset="mini-MultiScale")
    both = conditioning(graph)
    patched = graph.ours("PatchSchedule", model=model(graph)[0], patch=preset[0])
    guider = graph.ours(
        "Guider", model=patched[0], positive=both[0], negative=both[1], guidance=preset[1], renorm=preset[2]
    )
    size = {name: preset[slot] for name, slot in (("width", 7), ("height", 8), ("frames", 9))}
    out = graph.add(
        "SamplerCustomAdvanced",
        noise=graph.ours("Noise", seed=3)[0],
        guider=guider[0],
        sampler=graph.add("KSamplerSelect", sampler_name="euler")[0],
        sigmas=graph.ours("Sigmas", points=POINTS, time_shift=preset[6])[0],
        latent_image=graph.ours("EmptyLatent", **size, batch_size=1, patch=preset[0])[0],
    )
    staged = latents(bundled, graph, out[0])
    whole = Graph()
    node = all_in_one(whole, motion="1.5", negative_motion="0.25")
    assert distance(staged, latents(bundled, whole, node[0])) <= TOLERANCE


@pytest.mark.parametrize("tiled", [False, True])
def test_vae_encodes_and_decodes(bundled, tiled):
    graph = Graph()
    vae = graph.ours("VAELoader", vae_name=MINI)[0]
    pixels = graph.add("EmptyImage", width=64, height=64, batch_size=16, color=0x3366CC)
    tiles = {"tile_size": 512, "overlap": 64, "temporal_size": 64, "temporal_overlap": 8}
    kind, more = ("Tiled", tiles) if tiled else ("", {})
    encoded = graph.add(f"VAEEncode{kind}", pixels=pixels[0], vae=vae, **more)
    images = graph.add(f"VAEDecode{kind}", samples=encoded[0], vae=vae, **more)
    latent = graph.save_latent(encoded[0])
    save = graph.add("SaveImage", images=images[0], filename_prefix=f"vae{kind}")
    result = bundled.prompt(graph.api)
    assert saved_latents(result, latent.id).shape == (1, 6, 4, 8, 8)
    assert [Image.open(file).size for file in result.files(save.id)] == [(64, 64)] * 16


def encoded_by_the_other_vae(graph: Graph) -> Node:
    pixels = graph.add("EmptyImage", width=64, height=64, batch_size=8, color=0x3366CC)
    return graph.add("VAEEncode", pixels=pixels[0], vae=graph.ours("VAELoader", vae_name=VAE)[0])


def test_latents_of_another_vae_are_refused_by_the_sampler(bundled):
    graph = Graph()
    graph.save_latent(ksampler(graph, encoded_by_the_other_vae(graph)[0], denoise=0.5)[0])
    with pytest.raises(HostError, match=r"\b16\b.*\b6\b"):
        bundled.prompt(graph.api)


def test_latents_of_another_vae_are_refused_by_the_vae(bundled):
    graph = Graph()
    image = decoded(graph, encoded_by_the_other_vae(graph)[0])
    graph.add("SaveImage", images=image[0], filename_prefix="never")
    with pytest.raises(HostError, match=r"\(1, 16, 2, 8, 8\).*\(batch, 6,"):
        bundled.prompt(graph.api)


def test_latent_preview_takes_the_models_colors(bundled):
    graph = Graph()
    samples = all_in_one(graph)[0]
    sheet = graph.ours("LatentPreview", samples=samples, columns=4, scale=2, model=model(graph)[0])
    save = graph.add("SaveImage", images=sheet[0], filename_prefix="sheet")
    (file,) = bundled.prompt(graph.api).files(save.id)
    assert Image.open(file).size == (4 * 8 * 2, 8 * 2)
    without = Graph()
    sheet = without.ours("LatentPreview", samples=all_in_one(without)[0], columns=4, scale=2)
    without.add("SaveImage", images=sheet[0], filename_prefix="never")
    with pytest.raises(HostError, match=r"\(batch, 16,"):
        bundled.prompt(without.api)


def test_a_broken_bundle_is_told_when_the_prompt_is_queued(server, random_bundle, tmp_path):
    broken = tmp_path / "mini"
    shutil.copytree(random_bundle, broken)
    text = json.loads((broken / DESCRIPTION).read_text(encoding="utf-8"))
    (broken / DESCRIPTION).write_text(json.dumps({**text, "checkpoint": "elsewhere"}), encoding="utf-8")
    with pytest.raises(LuminaError, match="'elsewhere'"):
        read_bundle(broken)
    with server.bundle(broken):
        graph = Graph()
        graph.save_latent(all_in_one(graph)[0])
        with pytest.raises(HostError) as refused:
            server.prompt(graph.api)
    assert "checkpoint 'elsewhere'" in json.dumps(refused.value.details)


@pytest.mark.skipif(
    not (SHIPPED / "mini" / DESCRIPTION).is_file(), reason="lumina_core/bundles/mini is not there: it is not run"
)
def test_the_shipped_bundle_makes_its_workflows_video(server):
    with server.bundle(SHIPPED / "mini"):
        prompt = twin(WORKFLOW)
        result = server.prompt(prompt)
        (file,) = [f for key, node in prompt.items() if node["class_type"] == "SaveVideo" for f in result.files(key)]
        with av.open(str(file)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert (len(frames), frames[0].shape) == (CLIP["frames"], (256, 256, 3))
    assert frames[0].std() > 5, "one color throughout"
