"""Sound that cannot be made ends in one sentence, when queued where that can be known."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from graphs import CODEC, SOUND_MODEL, Graph, Node, audio_parts, sound_node
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from server import HostError, HostServer
from test_audio import load, saved
from test_failures import failure
from test_validation import refusal, sentence

from lumina_core.checkpoints.audio import CHECKPOINT_NAME
from scripts.make_tiny_set import write_audio_model, write_codec

LOADERS = {
    "LoadSoundModel": ("model_name", "no weights of Lumina-V2A were released"),
    "LoadSoundFeatures": ("folder", "DFN5B-CLIP-ViT-H-14-378"),
    "LoadSoundCodec": ("codec_name", "cvssp/audioldm"),
}


@pytest.fixture
def models(server) -> Path:
    """The running server's model folder."""
    return server.base / "models"


def refused(server: HostServer, graph: Graph, node: Node, audio: list) -> str:
    saved(graph, audio)
    return refusal(server, graph, node)


def failed(server: HostServer, graph: Graph, audio: list) -> str:
    saved(graph, audio)
    return failure(server, graph)


def frames(graph: Graph, count: int) -> list:
    return graph.add("EmptyImage", width=64, height=64, batch_size=count, color=0x3366CC)[0]


@pytest.mark.parametrize("links, found", [((), "neither"), (("images", "video"), "both")])
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "parts"])
def test_one_of_both_inputs_is_asked_for_when_queued(server, whole, links, found):
    graph = Graph()
    sources = {"images": frames(graph, 24), "video": load(graph)[0]}
    given = {name: sources[name] for name in links}
    node = sound_node(graph, **given) if whole else audio_parts(graph, **given)[0]
    title = "Lumina Video to Audio" if whole else "Lumina-Video Audio Conditioning"
    if whole:
        saved(graph, node[0])
    else:
        graph.add("PreviewAny", source=node[2])
    message = refusal(server, graph, node)
    assert f"images or video to {title}; {found} of them" in message


@pytest.mark.parametrize("fps", [0, -8.0])
def test_a_rate_that_cannot_be_is_told_when_queued(server, fps):
    graph = Graph()
    node = sound_node(graph, images=frames(graph, 24), fps=fps)
    assert "fps is" in refused(server, graph, node, node[0])


@pytest.mark.parametrize("count, fps, words", [(1, 24.0, "has 1 frame"), (4, 120.0, "is 0.0333333 s long")])
def test_a_clip_too_short_fails_in_one_sentence(server, count, fps, words):
    graph = Graph()
    assert words in failed(server, graph, sound_node(graph, images=frames(graph, count), fps=fps)[0])


def test_a_file_that_is_no_video_fails_in_one_sentence(server, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"nothing like it")
    server.put_input(tmp_path / "broken.mp4")
    graph = Graph()
    message = failed(server, graph, sound_node(graph, video=load(graph, "broken.mp4")[0])[0])
    assert "broken.mp4 cannot be read as a video" in message


def test_a_model_of_pictures_makes_no_sound(server):
    graph = Graph()
    message = failed(server, graph, sound_node(graph, model=graph.model()[0], images=frames(graph, 24))[0])
    assert "not an audio model" in message


def test_conditioning_of_a_text_encoder_is_refused_by_the_sampler(server):
    graph = Graph()
    text = graph.ours("TextEncode", clip=graph.clip()[0], text="a bell")
    out = graph.add(
        "KSampler", model=graph.audio_model()[0], positive=text[0], negative=text[0], seed=7, steps=2, cfg=1.0,
        latent_image=graph.ours("EmptySoundLatent", seconds=1.0, batch_size=1)[0], sampler_name="euler",
        scheduler="simple", denoise=1.0,
    )  # fmt: skip
    audio = graph.ours("DecodeSound", samples=out[0], codec=graph.codec()[0], seconds=0.0)
    assert "has no video features" in failed(server, graph, audio[0])


def test_a_codec_of_other_latents_is_refused_before_the_work(server, models):
    write_codec(models / "vae" / "eight", 0, channels=8)
    graph = Graph()
    node = sound_node(graph, codec=graph.codec("eight")[0], images=frames(graph, 24))
    saved(graph, node[0])
    with pytest.raises(HostError) as caught:
        server.prompt(graph.api)
    message = sentence(caught.value.details["exception_message"].strip())
    assert "have 8 channels, but the audio model has 4" in message
    assert not any(said["type"] == "progress" and said["data"]["node"] == node.id for said in caught.value.messages)


def test_features_of_other_widths_are_refused_before_the_work(server, models):
    write_audio_model(models / "diffusion_models" / "narrow.safetensors", 0, sync_dim=24)
    graph = Graph()
    model = graph.audio_model("narrow.safetensors")
    node = sound_node(graph, model=model[0], images=frames(graph, 24))
    assert "The features are 32 (visual), 48 (sync) and 32 (text) wide" in failed(server, graph, node[0])


@pytest.mark.parametrize(
    "part, words", [("codec", "3 input channels, and an audio VAE has 1"), ("features", "has no folder sync")]
)
def test_foreign_parts_are_told_when_queued(server, models, part, words):
    graph = Graph()
    if part == "codec":
        shutil.copytree(models / "vae" / "cogvideox-tiny", models / "vae" / "foreign" / "vae")
        shutil.copytree(models / "vae" / CODEC / "vocoder", models / "vae" / "foreign" / "vocoder")
        node = graph.codec("foreign")
    else:
        (models / "clip_vision" / "foreign" / "clip").mkdir(parents=True)
        node = graph.features("foreign")
    graph.add("PreviewAny", source=node[0])
    assert words in refusal(server, graph, node)


@pytest.mark.parametrize("outside", ["../../models/vae/audioldm-tiny", "/"])
def test_what_lies_elsewhere_is_not_opened(server, outside):
    graph = Graph()
    node = graph.codec(outside)
    graph.add("PreviewAny", source=node[0])
    assert f"'{outside}' is not in" in refusal(server, graph, node)


@pytest.mark.parametrize("lufs", [-71.0, -3.0])
def test_a_loudness_that_no_sound_has_is_told_when_queued(server, lufs):
    graph = Graph()
    node = sound_node(graph, images=frames(graph, 24), loudness=lufs)
    assert f"The loudness is {lufs} LUFS" in refused(server, graph, node, node[0])


def test_latents_of_pictures_are_refused_by_the_codec(server):
    graph = Graph()
    latent = graph.add("EmptyLatentImage", width=64, height=64, batch_size=1)
    audio = graph.ours("DecodeSound", samples=latent[0], codec=graph.codec()[0], seconds=0.0)
    assert "expected (batch, 4, time, 16)" in failed(server, graph, audio[0])


def test_more_seconds_than_latents_are_refused_by_the_codec(server):
    graph = Graph()
    latent = graph.ours("EmptySoundLatent", seconds=1.0, batch_size=1)
    sampled = graph.add("LatentCut", samples=latent[0], dim="x", index=0, amount=16)
    audio = graph.ours("DecodeSound", samples=sampled[0], codec=graph.codec()[0], seconds=5.0)
    assert failed(server, graph, audio[0])


def changed(tiny_models: Path, models: Path, name: str, change) -> str:
    """The tiny sound model under another name, its weights changed; the name."""
    file = tiny_models / "diffusion_models" / SOUND_MODEL
    with safe_open(file, framework="pt") as reader:
        metadata = reader.metadata()
    save_file(change(load_file(file)), models / "diffusion_models" / f"{name}.safetensors", metadata)
    return f"{name}.safetensors"


def test_a_checkpoint_with_a_key_too_few_is_told_when_queued(server, tiny_models, models):
    name = changed(tiny_models, models, "gap", lambda w: {k: v for k, v in w.items() if k != "x_embedder.weight"})
    graph = Graph()
    node = graph.audio_model(name)
    message = refused(server, graph, node, sound_node(graph, model=node[0], images=frames(graph, 24))[0])
    assert "gap.safetensors does not fit" in message and "x_embedder.weight" in message


def test_a_truncated_checkpoint_is_told_when_queued(server, tiny_models, models):
    good = (tiny_models / "diffusion_models" / SOUND_MODEL).read_bytes()
    (models / "diffusion_models" / "half.safetensors").write_bytes(good[: len(good) // 2])
    graph = Graph()
    node = graph.audio_model("half.safetensors")
    message = refused(server, graph, node, sound_node(graph, model=node[0], images=frames(graph, 24))[0])
    assert "half.safetensors cannot be read" in message


@pytest.mark.parametrize("name", ["video.safetensors", "nowhere.safetensors"])
def test_a_foreign_checkpoint_is_not_offered_and_told_when_queued(server, tiny_models, models, name):
    graph = Graph()
    if name == "video.safetensors":
        source = tiny_models / "diffusion_models" / "lumina-video-tiny" / "consolidated.00-of-01.safetensors"
        shutil.copyfile(source, models / "diffusion_models" / name)
    spec = server.object_info()["LuminaVideoLoadSoundModel"]["input"]["required"]["model_name"]
    offered = spec[0] if isinstance(spec[0], list) else spec[1]["options"]
    assert SOUND_MODEL in offered and name not in offered
    node = graph.audio_model(name)
    message = refused(server, graph, node, sound_node(graph, model=node[0], images=frames(graph, 24))[0])
    assert "not a Lumina-V2A audio model" in message or "'nowhere.safetensors' is not in" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(server, tiny_models, models, value):
    name = changed(tiny_models, models, "nan", lambda w: {**w, "x_embedder.bias": w["x_embedder.bias"] * 0 + value})
    graph = Graph()
    message = failed(server, graph, sound_node(graph, model=graph.audio_model(name)[0], images=frames(graph, 24))[0])
    assert "NaN or infinite values in x_embedder.bias" in message


def test_a_network_that_gives_nan_is_stopped_at_once(server, tiny_models, models):
    last = "final_layer.linear.weight"
    name = changed(tiny_models, models, "overflow", lambda w: {**w, last: w[last] * 3e38})
    graph = Graph()
    message = failed(server, graph, sound_node(graph, model=graph.audio_model(name)[0], images=frames(graph, 24))[0])
    assert "The first step gave NaN or infinite values" in message


def test_a_sound_that_is_silent_is_told(server, models):
    write_codec(models / "vae" / "silent", 0, channels=8)
    vocoder = models / "vae" / "silent" / "vocoder" / "model.safetensors"
    weights = load_file(vocoder)
    save_file({name: value * (not name.startswith("conv_post")) for name, value in weights.items()}, vocoder)
    graph = Graph()
    latent = graph.ours("EmptySoundLatent", seconds=1.0, batch_size=1)
    audio = graph.ours("DecodeSound", samples=latent[0], codec=graph.codec("silent")[0], seconds=0.0)
    saved(graph, audio[0])
    (told,) = server.prompt(graph.api).outputs(audio.id)["text"]
    assert "is silent" in told and "video_guidance" in told


@pytest.fixture
def bare(server, random_bundle, tmp_path):
    """The host with a bundle that has no voice, and no models."""
    folder = tmp_path / "mini"
    shutil.copytree(random_bundle, folder, ignore=shutil.ignore_patterns("sound"))
    text = (folder / "bundle.json").read_text(encoding="utf-8").replace('  "sound": "sound",\n', "")
    (folder / "bundle.json").write_text(text, encoding="utf-8")
    with server.bundle(folder), server.no_models():
        yield server


@pytest.mark.parametrize("node", LOADERS)
def test_nothing_installed_says_what_there_is(bare, node):
    field, words = LOADERS[node]
    spec = bare.object_info()[f"LuminaVideo{node}"]["input"]["required"][field]
    assert (spec[0] if isinstance(spec[0], list) else spec[1]["options"]) == ["none installed"]
    for name, found in (("none installed", "is installed;"), ("mini (bundled)", "Bundle 'mini' has no audio model;")):
        graph = Graph()
        loader = graph.ours(node, **{field: name})
        graph.add("PreviewAny", source=loader[0])
        message = refusal(bare, graph, loader)
        assert found in message and words in message and "bundles/mini" in message


def test_a_sound_folder_of_ones_own_is_found(server, models):
    folder = models / "diffusion_models" / "mine"
    write_audio_model(folder / CHECKPOINT_NAME, 1)
    write_codec(folder / "codec", 2)
    shutil.copytree(models / "clip_vision" / "v2a-tiny", folder / "features")
    graph = Graph()
    model, codec = graph.audio_model("mine/model.safetensors"), graph.codec("mine/codec")
    node = sound_node(graph, model=model[0], codec=codec[0], images=frames(graph, 24))
    node_features = graph.features("mine/features")
    graph.api[node.id]["inputs"]["features"] = node_features[0]
    save = saved(graph, node[0], "mine")
    assert len(server.prompt(graph.api).files(save.id)) == 1
