"""Sound through a real host: lengths, parts against the whole, what is told, and that the user can stop."""

from __future__ import annotations

import json
import urllib.request
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch
from graphs import CLIP_FPS, SIZE, Graph, Node, audio_parts, custom_sampler, sound_node
from server import HostServer, Result
from test_live import _progress

RATE = 16000
AAC_FRAME = 1024
"""Samples: the unit in which a sound in an mp4 is long."""
FRAMES, FPS = SIZE["frames"], CLIP_FPS
MODEL_TOLERANCE = 5e-4
"""Of samples in -1..1, after the 16 bits of a FLAC."""


def load(graph: Graph, name: str = "clip.mp4") -> Node:
    return graph.add("LoadVideo", file=name)


def saved(graph: Graph, audio: list, name: str = "sound") -> Node:
    return graph.add("SaveAudio", audio=audio, filename_prefix=f"audio/{name}")


def waveform(result: Result, node: Node) -> torch.Tensor:
    """The samples of a saved sound, (channels, samples)."""
    (file,) = result.files(node.id)
    return read_sound(file)


def read_sound(file: Path) -> torch.Tensor:
    with av.open(str(file)) as container:
        (stream,) = container.streams.audio
        assert stream.rate == RATE
        resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=RATE)
        frames = [out for frame in container.decode(stream) for out in resampler.resample(frame)]
    return torch.cat([torch.from_numpy(frame.to_ndarray()) for frame in frames], dim=1)


def whole(server: HostServer, name: str = "sound", **inputs) -> torch.Tensor:
    """The sound of Video to Audio for the clip."""
    graph = Graph()
    save = saved(graph, sound_node(graph, video=load(graph)[0], **inputs)[0], name)
    return waveform(server.prompt(graph.api), save)


def test_video_and_sound_of_an_mp4_are_of_one_length(server):
    graph = Graph()
    parts = graph.add("GetVideoComponents", video=load(graph)[0])
    audio = sound_node(graph, video=load(graph)[0])
    video = graph.add("CreateVideo", images=parts[0], fps=parts[2], audio=audio[0])
    save = graph.add("SaveVideo", video=video[0], filename_prefix="video/sound", format="mp4", codec="h264")
    (file,) = server.prompt(graph.api).files(save.id)
    with av.open(str(file)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        picture, sound = container.streams
        lengths = [float(stream.duration * stream.time_base) for stream in (picture, sound)]
    assert lengths[0] == pytest.approx(FRAMES / FPS, abs=1e-3)
    assert abs(lengths[0] - lengths[1]) <= AAC_FRAME / RATE
    heard = read_sound(file)
    assert heard.isfinite().all() and float(heard.abs().max()) > 1e-4


@pytest.mark.parametrize("fps", [7.5, 24.0, 30000 / 1001, 120.0])
def test_frames_at_a_rate_get_a_sound_of_their_length(server, fps):
    graph = Graph()
    parts = graph.add("GetVideoComponents", video=load(graph)[0])
    images = graph.add("RepeatImageBatch", image=parts[0], amount=8)
    save = saved(graph, sound_node(graph, images=images[0], fps=fps)[0], f"rate{fps}")
    found = waveform(server.prompt(graph.api), save)
    assert found.shape == (1, round(8 * FRAMES / fps * RATE))


def test_a_clip_and_its_frames_sound_nearly_alike(server):
    graph = Graph()
    parts = graph.add("GetVideoComponents", video=load(graph)[0])
    save = saved(graph, sound_node(graph, images=parts[0], fps=parts[2])[0], "frames")
    frames, file = waveform(server.prompt(graph.api), save), whole(server)
    assert frames.shape == file.shape == (1, FRAMES * RATE // FPS)
    # The host decodes colors in its own way.
    assert float((frames - file).std()) < 0.5 * float(file.std())


def test_the_parts_equal_the_whole(server):
    graph = Graph()
    both, latent = audio_parts(graph, video=load(graph)[0])
    guider = graph.ours(
        "SoundGuider", model=graph.audio_model()[0], positive=both[0], negative=both[1], video_guidance=3.0,
        text_guidance=2.0,
    )  # fmt: skip
    sigmas = graph.ours("Sigmas", points=5, time_shift=1.0)
    out = custom_sampler(graph, guider, sigmas[0], latent[0], graph.add("RandomNoise", noise_seed=7))
    audio = graph.ours("DecodeSound", samples=out[0], codec=graph.codec()[0], seconds=0.0)
    save = saved(graph, audio[0], "parts")
    found, expected = waveform(server.prompt(graph.api), save), whole(server)
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= MODEL_TOLERANCE


def test_ksampler_takes_the_model_and_a_batch(server):
    graph = Graph()
    both, _ = audio_parts(graph, video=load(graph)[0])
    latent = graph.ours("EmptySoundLatent", seconds=1.5, batch_size=2)
    out = graph.add(
        "KSampler", model=graph.audio_model()[0], positive=both[0], negative=both[1], latent_image=latent[0], seed=7,
        steps=4, cfg=4.5, sampler_name="dpmpp_2m", scheduler="simple", denoise=1.0,
    )  # fmt: skip
    audio = graph.ours("DecodeSound", samples=out[0], codec=graph.codec()[0], seconds=0.0)
    save = saved(graph, audio[0], "batch")
    files = server.prompt(graph.api).files(save.id)
    first, second = (read_sound(file) for file in files)
    assert first.shape == second.shape == (1, 1.5 * RATE)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    "name, value",
    [("prompt", "wood"), ("negative_prompt", ""), ("video_guidance", 0.0), ("text_guidance", 0.0), ("seed", 8)],
)
def test_what_is_asked_for_is_heard(server, name, value):
    found = whole(server, f"changed_{name}", **{name: value})
    expected = whole(server)
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) > 10 * MODEL_TOLERANCE


def test_a_loudness_is_reached(server):
    loud = whole(server, "loud", loudness=-30.0)
    quiet = whole(server, "quiet", loudness=-40.0)
    assert float((loud.std() / quiet.std()).log10()) == pytest.approx(0.5, abs=0.02)


def test_a_silent_clip_is_no_news(server):
    graph = Graph()
    node = sound_node(graph, video=load(graph)[0], seed=20)
    saved(graph, node[0])
    assert server.prompt(graph.api).outputs(node.id) == {}


@pytest.mark.parametrize("made", [False, True], ids=["a file", "of parts"])
def test_a_video_that_has_a_sound_is_told(server, made):
    graph = Graph()
    parts = graph.add("GetVideoComponents", video=load(graph)[0])
    audio = graph.add("CreateVideo", images=parts[0], fps=24.0, audio=sound_node(graph, video=load(graph)[0])[0])
    if made:
        video = audio
    else:
        save = graph.add("SaveVideo", video=audio[0], filename_prefix="loud", format="mp4", codec="h264")
        (file,) = server.prompt(graph.api).files(save.id)
        server.put_input(file, "loud.mp4")
        graph = Graph()
        video = load(graph, "loud.mp4")
    node = sound_node(graph, video=video[0], seed=21)
    saved(graph, node[0])
    (told,) = server.prompt(graph.api).outputs(node.id)["text"]
    assert "already has an audio track" in told and f"Lumina Video to Audio: {told}" in server.log


def test_a_video_whose_rate_varies_is_told(server, tmp_path):
    path = tmp_path / "uneven.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(30):
            frame = av.VideoFrame(64, 64, "yuv420p")
            frame.pts, frame.time_base = 40 * number + 400 * (number > 12), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    server.put_input(path)
    graph = Graph()
    node = sound_node(graph, video=load(graph, "uneven.mkv")[0])
    save = saved(graph, node[0], "uneven")
    result = server.prompt(graph.api)
    (told,) = result.outputs(node.id)["text"]
    assert "variable frame rate" in told
    assert waveform(result, save).shape[1] == pytest.approx(1.6 * RATE, abs=0.05 * RATE)


def test_progress_and_interrupt(server):
    steps, at = 400, 3
    graph = Graph()
    node = sound_node(graph, video=load(graph)[0], steps=steps, seed=22)
    saved(graph, node[0])
    asked = []

    def interrupt(message, result):
        told = [pair for pair in _progress(result.messages, node.id) if pair[1] == steps]
        if not asked and told and told[-1][0] >= at:
            asked.append(told[-1])
            server.interrupt()

    result = server.prompt(graph.api, on_message=interrupt)
    assert asked and result.interrupted
    assert _progress(result.messages, node.id)[-1][0] < steps
    assert whole(server, "again").shape == (1, FRAMES * RATE // FPS)


def test_models_that_were_freed_come_back(server):
    before = whole(server, "before", seed=30)
    free = urllib.request.Request(
        f"{server.url}/free",
        data=json.dumps({"unload_models": True, "free_memory": True}).encode(),
        headers={"Content-Type": "application/json"},
    )
    urllib.request.urlopen(free, timeout=60).close()
    assert torch.equal(whole(server, "after", seed=30), before)
