"""Bad input is refused when the prompt is queued: one sentence with the input, what was found and the cure."""

import re

import pytest
from graphs import Graph, Node, sampler_node
from server import HostServer

SCHEDULES = {
    "no threshold": ("2x4 | 0.03", "Segment 2 '0.03' has no threshold; write 't: value'"),
    "no patch size": ("fine", "'fine' is not a patch size; write frames x space, such as 1x2"),
    "empty segment": ("2x4 | 0.1: ", "Segment 2: '' is not a patch size"),
    "threshold first": ("0.1: 2x4", "the first value holds from t = 0"),
    "threshold no number": ("2x4 | soon: 1x2", "'soon' is not a threshold; write a number between 0 and 1"),
    "out of order": ("2x4 | 0.3: 2x2 | 0.1: 1x2", "starts at t = 0.1, which is not after the threshold 0.3"),
    "twice": ("2x4 | 0.3: 2x2 | 0.3: 1x2", "write thresholds in rising order"),
    "zero": ("2x4 | 0: 1x2", "starts at t = 0; a threshold lies between 0 (noise) and 1 (data), both excluded"),
    "one": ("2x4 | 1: 1x2", "starts at t = 1;"),
    "above one": ("2x4 | 1.5: 1x2", "starts at t = 1.5;"),
    "nan": ("2x4 | nan: 1x2", "nan"),
}
NUMBERS = {
    "no number": ("twenty", "'twenty' is not a number; write a number such as 6, or none"),
    "infinite": ("inf", "'inf' is not a finite number"),
    "no threshold": ("20 | 0", "Segment 2 '0' has no threshold"),
    "out of order": ("20 | 0.5: 3 | 0.4: 0", "write thresholds in rising order"),
    "outside": ("20 | 1.2: 0", "starts at t = 1.2"),
}
SIZES = {
    "width": ({"width": 72}, "width is 72", "use a multiple of 32, such as 64"),
    "width of no latent": ({"width": 100}, "width is 100", "use a multiple of 16"),
    "height": ({"height": 48}, "height is 48", "use a multiple of 32"),
    "frames": ({"frames": 12}, "frames is 12", "use a multiple of 8, or 1 for an image"),
    "frames of no latent": ({"frames": 6}, "frames is 6", "use 1 for an image or a multiple of 4"),
    "more tokens than any run takes": (
        {"width": 4096, "height": 4096, "frames": 512, "patch": "1x2"},
        "8388608 tokens",
        "at most 4194304 are supported",
    ),
}


def sentence(text: str) -> str:
    """`text`, if it is one sentence on one line."""
    assert re.fullmatch(r"[^\n]{20,400}\.", text), text
    # Decimal points and abbreviations of file names are no ends of sentences.
    assert not re.search(r"\.\s+[A-Z]", text), f"more than one sentence: {text}"
    assert "Error:" not in text and "Traceback" not in text, text
    return text


def refusal(server: HostServer, graph: Graph, node: Node) -> str:
    """The sentence that `node` gives when `graph` is queued."""
    errors = server.submit_error(graph.api)["node_errors"][node.id]["errors"]
    sentences = {error["details"].partition(" - ")[2] for error in errors}
    assert len(sentences) == 1, errors
    return sentence(sentences.pop())


def _refused(server: HostServer, name: str, **inputs) -> str:
    """The refusal of one of our nodes, with the rest of the graph as it should be."""
    graph = Graph()
    if name == "MultiScaleSampler":
        node = sampler_node(graph, **inputs)
        graph.save_latent(node[0])
        return refusal(server, graph, node)
    if name == "EmptyLatent":
        size = {"width": 64, "height": 64, "frames": 16, "batch_size": 1, "patch": "2x4 | 0.03: 2x2 | 0.125: 1x2"}
        node = graph.ours(name, **{**size, **inputs})
        graph.save_latent(node[0])
        return refusal(server, graph, node)
    model, clip = graph.model(), graph.clip()
    text = graph.ours("TextEncode", clip=clip[0], text="")
    texts = {"positive": text[0], "negative": text[0]}
    fields = {
        "PatchSchedule": {"model": model[0]},
        "Guidance": {"model": model[0], "guidance": "3", "renorm": 2.0},
        "Guider": {"model": model[0], "guidance": "3", "renorm": 2.0, **texts},
        "MotionScore": {**texts, "motion": "6", "negative_motion": "2"},
        "SplitSigmas": {"sigmas": graph.ours("Sigmas", points=5, time_shift=24.0)[0]},
    }[name]
    node = graph.ours(name, **{**fields, **inputs})
    latent = graph.add("EmptyLatentImage", width=64, height=64, batch_size=1)
    wired = {"model": model[0], **texts, "latent_image": latent[0]}
    common = {"seed": 1, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    noise, sampler = graph.ours("Noise", seed=1), graph.add("KSamplerSelect", sampler_name="euler")
    custom = {"noise": noise[0], "sampler": sampler[0], "latent_image": latent[0]}
    if name in ("PatchSchedule", "Guidance"):
        end = graph.add("KSampler", **{**wired, **common, "model": node[0]})
    elif name == "MotionScore":
        end = graph.add("KSampler", **{**wired, **common, "positive": node[0], "negative": node[1]})
    elif name == "Guider":
        times = graph.ours("Sigmas", points=5, time_shift=24.0)
        end = graph.add("SamplerCustomAdvanced", **custom, guider=node[0], sigmas=times[0])
    else:
        guider = graph.ours("Guider", model=model[0], guidance="3", renorm=2.0, **texts)
        end = graph.add("SamplerCustomAdvanced", **custom, guider=guider[0], sigmas=node[0])
    graph.save_latent(end[0])
    return refusal(server, graph, node)


@pytest.mark.parametrize("name", ["MultiScaleSampler", "EmptyLatent", "PatchSchedule", "SplitSigmas"])
@pytest.mark.parametrize("case", SCHEDULES)
def test_patch_schedule(server, name, case):
    text, cure = SCHEDULES[case]
    found = _refused(server, name, patch=text)
    assert "patch" in found and text.strip() in found and cure in found


@pytest.mark.parametrize(
    "name, field",
    [("MultiScaleSampler", name) for name in ("guidance", "motion", "negative_motion")]
    + [("Guidance", "guidance"), ("Guider", "guidance"), ("MotionScore", "motion"), ("MotionScore", "negative_motion")],
)
@pytest.mark.parametrize("case", NUMBERS)
def test_number_schedule(server, name, field, case):
    text, cure = NUMBERS[case]
    found = _refused(server, name, **{field: text})
    assert f"{field} schedule '{text}'" in found and cure in found


@pytest.mark.parametrize("name", ["MultiScaleSampler", "EmptyLatent"])
@pytest.mark.parametrize("case", SIZES)
def test_size(server, name, case):
    inputs, found, cure = SIZES[case]
    message = _refused(server, name, **inputs)
    assert found in message and cure in message


def test_one_point(server):
    assert "points is 1" in _refused(server, "MultiScaleSampler", points=1)


@pytest.mark.parametrize(
    "name, field, folder",
    [
        ("ModelLoader", "model_name", "diffusion_models"),
        ("VAELoader", "vae_name", "vae"),
        ("TextEncoderLoader", "folder", "text_encoders"),
    ],
)
def test_missing_file(server, name, field, folder):
    graph = Graph()
    extra = {"weight_dtype": "default"} if name == "ModelLoader" else {}
    node = graph.ours(name, **{field: "nowhere.safetensors"}, **extra)
    if name == "VAELoader":
        latent = graph.ours("EmptyLatent", width=64, height=64, frames=1, batch_size=1, patch="1x2")
        image = graph.add("VAEDecode", samples=latent[0], vae=node[0])
        graph.add("PreviewImage", images=image[0])
    else:
        graph.save_latent(sampler_node(graph, **{"model" if name == "ModelLoader" else "clip": node[0]})[0])
    found = refusal(server, graph, node)
    assert "'nowhere.safetensors' is not in" in found and folder in found and "put the" in found


@pytest.mark.parametrize(
    "inputs",
    [{"width": 2048, "height": 2048, "frames": 256}, {"frames": 0}, {"frames": 1}, {"width": 80, "frames": 12}],
)
def test_sizes_at_the_edge_pass(server, inputs):
    graph = Graph()
    size = {"width": 64, "height": 64, "frames": 8, "batch_size": 1, "patch": "1x2"}
    good, bad = graph.ours("EmptyLatent", **{**size, **inputs}), graph.ours("EmptyLatent", **{**size, "width": 100})
    # One output that needs both, so that the bad one keeps the good one from running.
    graph.save_latent(graph.add("LatentBatch", samples1=good[0], samples2=bad[0])[0])
    assert list(server.submit_error(graph.api)["node_errors"]) == [bad.id]
