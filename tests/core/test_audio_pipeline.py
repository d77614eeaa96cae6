"""From a video file to a file with sound, on tiny random parts: lengths, order of work, refusals, what is written."""

import gc
import json
import re
import shutil
import weakref
from dataclasses import replace

import pytest
import torch
from refusals import refused

from lumina_core import LuminaError, SamplingCancelled
from lumina_core.audio.feature_config import read_feature_widths
from lumina_core.audio.features import load_feature_encoder
from lumina_core.audio.files import has_audio, read_audio
from lumina_core.media.reader import frames_at, probe
from lumina_core.media.writer import read_metadata, write_video
from lumina_core.network.audio_config import AudioConfig
from lumina_core.pipelines.audio import SILENT
from lumina_core.pipelines.audio_file import (
    AUDIO_FILE_KEY,
    AudioRequest,
    AudioSettings,
    audio_for_frames,
    audio_pipeline,
    make_audio,
)
from lumina_core.pipelines.audio_inputs import AudioFiles
from lumina_core.pipelines.base import ProgressObserver
from lumina_core.sampling.audio import AudioPlan
from scripts.make_tiny_audio import SYNC, VISUAL, write_audio, write_codec

PLAN = AudioPlan(steps=2, video_guidance=1.0, text_guidance=1.0)


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    """A sound folder with random parts."""
    return write_audio(tmp_path_factory.mktemp("sound"), seed=5)


@pytest.fixture(scope="module")
def settings(voice):
    return AudioSettings(files=AudioFiles.of(voice), prompt="a bell", plan=PLAN)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """video(frames, fps): a silent file in which a square moves."""
    folder = tmp_path_factory.mktemp("videos")

    def video(frames=16, fps=8.0, side=48):
        file = folder / f"{frames}-{fps}-{side}.mp4"
        if not file.exists():
            write_video(file, moving(frames, side), fps, {"lumina_video": "kept"})
        return file

    return video


def moving(frames, side=48):
    clip = torch.zeros(frames, side, side, 3)
    for number in range(frames):
        left = number * (side - 8) // frames
        clip[number, 8:16, left : left + 8] = 1
    return clip


class Told(ProgressObserver):
    """Everything that a run tells."""

    def __init__(self):
        self.stages, self.notes, self.steps, self.closed = [], [], [], 0

    def stage(self, text):
        self.stages.append(text)

    def note(self, text):
        self.notes.append(text)

    def sampling(self, costs):
        self.costs = costs

    def step(self, info):
        self.steps.append((info.step, info.steps))

    def close(self):
        self.closed += 1


def streams(path):
    """(kind, seconds) of each stream, and the packets' bytes of the pictures."""
    import av

    with av.open(str(path)) as container:
        kinds = [(stream.type, float(stream.duration * stream.time_base)) for stream in container.streams]
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    return kinds, packets


@pytest.mark.parametrize("frames, fps", [(16, 8.0), (13, 25.0), (75, 29.97), (120, 120.0), (6, 4.0)])
def test_the_sound_is_as_long_as_the_video_and_the_pictures_are_copied(settings, videos, tmp_path, frames, fps):
    video, out = videos(frames, fps), tmp_path / "out.mp4"
    result = make_audio(AudioRequest(settings=settings, video=video, out=out))
    kinds, packets = streams(out)
    assert [kind for kind, _ in kinds] == ["video", "audio"]
    # One frame of AAC is 1024 samples.
    assert abs(kinds[0][1] - kinds[1][1]) <= 1024 / 16000
    assert packets == streams(video)[1] and not has_audio(video)
    assert result.length == pytest.approx(probe(video).seconds, abs=1e-4)
    assert (result.file, result.rate, result.nfe, result.passes) == (out, 16000, 2, 6)
    assert read_audio(out).abs().max() > 1e-3
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]


def test_a_wav_has_every_sample(settings, videos, tmp_path):
    import wave

    out = tmp_path / "out.wav"
    make_audio(AudioRequest(settings=settings, video=videos(13, 25.0), out=out))
    with wave.open(str(out)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (1, 16000, round(13 / 25 * 16000))


def test_what_made_it_is_written_beside_what_was_there(settings, videos, tmp_path):
    out = tmp_path / "out.mp4"
    make_audio(AudioRequest(settings=replace(settings, seed=4), video=videos(), out=out))
    metadata = read_metadata(out)
    made = json.loads(metadata[AUDIO_FILE_KEY])
    assert metadata["lumina_video"] == "kept"
    assert (made["prompt"], made["seed"], made["model"]) == ("a bell", 4, "model.safetensors")
    assert AudioPlan(**made["plan"]) == PLAN


@pytest.mark.slow
def test_a_sound_that_is_there_is_replaced_and_told_also_in_place(settings, videos, tmp_path):
    file = shutil.copy(videos(), tmp_path / "clip.mp4")
    request = AudioRequest(settings=settings, video=file, out=file)
    quiet = Told()
    make_audio(request, quiet)
    assert has_audio(file) and quiet.notes == []
    first, told = read_audio(file), Told()
    make_audio(replace(request, settings=replace(settings, seed=9)), told)
    assert len(told.notes) == 1 and str(file) in told.notes[0]
    assert [kind for kind, _ in streams(file)[0]] == ["video", "audio"]
    assert not torch.allclose(read_audio(file), first, atol=1e-3)


@pytest.mark.slow
def test_frames_in_memory_sound_as_the_file_with_them(settings, videos):
    frames = torch.stack(list(frames_at(videos(), [number / 8 for number in range(16)]))).float() / 255
    sound = audio_for_frames(settings, frames, 8.0)
    file = load_feature_encoder(settings.files.features).file(videos())
    assert sound.waveform.shape == (1, round(file.seconds * 16000)) and sound.passes == 6 and not sound.silent
    again = audio_for_frames(settings, frames, 8.0)
    assert torch.equal(sound.waveform, again.waveform)
    for changed in ({"seed": 1}, {"prompt": "wood"}, {"negative_prompt": "wood"}, {"prompt": ""}):
        other = audio_for_frames(replace(settings, **changed), frames, 8.0).waveform
        assert not torch.allclose(other, sound.waveform, atol=1e-4), changed
    still = audio_for_frames(settings, frames[:1].expand(16, -1, -1, -1), 8.0).waveform
    assert not torch.allclose(still, sound.waveform, atol=1e-4), "it does not look at the video"


def test_without_a_prompt_there_is_no_pass_for_it(settings):
    frames = moving(8)
    assert audio_for_frames(replace(settings, prompt=" "), frames, 8.0).passes == 2 * 2
    assert audio_for_frames(replace(settings, prompt="", negative_prompt="wood"), frames, 8.0).passes == 2 * 3


def test_a_run_is_told_and_one_network_is_there_at_a_time(settings, videos, tmp_path, monkeypatch):
    import lumina_core.pipelines.audio_stages as pipeline

    loaded, gone = [], []

    def watched(name):
        load = getattr(pipeline, name)

        def loading(*given):
            assert not any(ref() for ref in loaded), "the one before is still there"
            thing = load(*given)
            loaded.append(weakref.ref(thing))
            return thing

        monkeypatch.setattr(pipeline, name, loading)

    def released(device):
        gc.collect()
        gone.append([ref() is None for ref in loaded])

    watched("load_feature_encoder")
    watched("load_audio_model")
    monkeypatch.setattr("lumina_core.pipelines.base.release_memory", released)
    told = Told()
    make_audio(AudioRequest(settings=settings, video=videos(), out=tmp_path / "out.mp4"), told)
    # Encoders, network, and last the codec, which is not watched.
    assert gone == [[True], [True, True], [True, True]], "memory is given back while what it holds is still there"
    assert told.steps == [(0, 2), (1, 2)] and told.costs == [1, 1] and told.closed == 1
    assert told.stages[:2] == ["reading the audio codec", "encoding the video"] and told.stages[-1] == "writing"


@pytest.mark.slow
def test_features_are_kept_and_used_again(settings, videos, tmp_path, monkeypatch):
    kept = tmp_path / "kept.safetensors"
    first = AudioRequest(settings=settings, video=videos(), out=tmp_path / "a.wav", save_features=kept)
    make_audio(first)
    monkeypatch.setattr("lumina_core.audio.features.FeatureEncoder.file", None)
    again = replace(first, save_features=None, features_file=kept, out=tmp_path / "b.wav")
    make_audio(again)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    other = shutil.copy(videos(24), tmp_path / videos().name)
    with refused("features", "mismatch", "2 s", "3 s"):
        make_audio(replace(again, video=other))
    with pytest.raises(LuminaError, match="features of '16-8.0-48.mp4', not of '24-8.0-48.mp4'"):
        make_audio(replace(again, video=videos(24)))
    with pytest.raises(LuminaError, match="only one"):
        make_audio(replace(again, save_features=tmp_path / "c.safetensors"))


@pytest.mark.slow
def test_loudness(settings):
    quiet = audio_for_frames(replace(settings, loudness=-40.0), moving(16), 8.0).waveform
    loud = audio_for_frames(replace(settings, loudness=-25.0), moving(16), 8.0).waveform
    gain = (loud.norm() / quiet.norm()).item()
    assert gain == pytest.approx(10 ** (15 / 20), rel=0.01)


@pytest.mark.parametrize("frames, told", [(2, True), (5, True), (6, False)])
def test_a_clip_shorter_than_a_segment_is_told_and_as_long_as_it_is(settings, frames, told):
    notes = Told()
    sound = audio_for_frames(settings, moving(frames), 8.0, notes)
    assert sound.waveform.shape == (1, frames * 2000)
    facts = (f"{frames / 8:.3g} s", "0.64 s")
    assert [all(fact in note for fact in facts) for note in notes.notes] == ([True] if told else [])


def test_silence_is_told(settings, monkeypatch):
    decoder = "lumina_core.pipelines.audio_stages.decode"
    monkeypatch.setattr(decoder, lambda codec, latents, seconds: torch.zeros(1, 1600))
    told = Told()
    sound = audio_for_frames(replace(settings, loudness=-20.0), moving(8), 8.0, told)
    assert sound.silent and told.notes == [SILENT] and not sound.waveform.any()


def test_a_broken_waveform_is_refused_and_nothing_is_written(settings, videos, tmp_path, monkeypatch):
    from lumina_core.audio.codec_loader import AudioCodec

    broken = torch.full((1, 16000 * 2), float("nan"))
    monkeypatch.setattr(AudioCodec, "to_waveform", lambda self, latents, samples: broken)
    with refused("dtype", "numerics"):
        make_audio(AudioRequest(settings=settings, video=videos(), out=tmp_path / "out.mp4"))
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_the_old_file(settings, videos, tmp_path):
    class Stop(Told):
        def step(self, info):
            return False

    out = tmp_path / "out.mp4"
    out.write_text("old")
    stop = Stop()
    with pytest.raises(SamplingCancelled):
        make_audio(AudioRequest(settings=settings, video=videos(), out=out), stop)
    assert out.read_text() == "old" and stop.closed == 1 and len(list(tmp_path.iterdir())) == 1


@pytest.fixture
def nothing_loads(monkeypatch):
    """Loading weights, which no refusal may come after, fails."""
    for name in ("load_audio_codec", "load_feature_encoder", "load_audio_model"):
        monkeypatch.setattr(f"lumina_core.pipelines.audio_stages.{name}", None)


def test_parts_that_do_not_go_together_are_told_before_loading(settings, voice, tmp_path, nothing_loads):
    def check(*facts, **changed):
        with pytest.raises(LuminaError) as caught:
            audio_pipeline(replace(settings, files=replace(settings.files, **changed)))
        message = str(caught.value)
        assert "\n" not in message and [fact for fact in facts if fact not in message] == [], message

    write_codec(tmp_path / "eight", 1, channels=8)
    check("8 channels", "4", codec=tmp_path / "eight")
    check("absent", "not exist", model=tmp_path / "absent")
    check("absent", "not exist", codec=tmp_path / "absent")
    check("absent", "not exist", features=tmp_path / "absent")
    (tmp_path / "half" / "clip").mkdir(parents=True)
    check("half", "sync", features=tmp_path / "half")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((voice / "model.safetensors").read_bytes()[:5000])
    check("cut.safetensors", model=cut)
    other = next((voice / "features" / "sync").glob("*.safetensors"))
    check(other.name, "recipes/audio", model=other)
    wide = shutil.copytree(voice / "features", tmp_path / "wide")
    config = json.loads((wide / "clip" / "config.json").read_text(encoding="utf-8"))
    (wide / "clip" / "config.json").write_text(json.dumps(config | {"projection_dim": 40}), encoding="utf-8")
    check("40", str(SYNC), str(VISUAL), features=wide)
    (wide / "clip" / "config.json").write_text("{", encoding="utf-8")
    check("wide", "CLIP", features=wide)


def test_widths_of_files_of_others(voice, tmp_path):
    """A Synchformer that states no size, and a CLIP without config.json, are the released ones."""
    assert read_feature_widths(voice / "features") == (VISUAL, SYNC, VISUAL)
    for part in ("clip", "sync"):
        (tmp_path / part).mkdir()
    torch.save({}, tmp_path / "sync" / "synchformer_state_dict.pth")
    config = AudioConfig()
    assert read_feature_widths(tmp_path) == (config.visual_dim, config.sync_dim, config.text_dim)


@pytest.mark.parametrize("changed, words", [
    ({"seed": -1}, "seed is -1"),
    ({"loudness": 20.0}, "loudness is 20.0 LUFS"),
    ({"device": "tpu"}, "device is 'tpu'"),
    ({"dtype": "int8"}, "dtype is 'int8'"),
    ({"prompt": "a bell \ud83d"}, "The prompt contains an unpaired surrogate"),
    ({"negative_prompt": "\udcff"}, "The negative prompt contains an unpaired surrogate"),
])  # fmt: skip
def test_wrong_settings(settings, changed, words, nothing_loads):
    with pytest.raises(LuminaError, match=words):
        audio_pipeline(replace(settings, **changed))


def test_videos_that_get_no_sound(settings, videos, tmp_path, nothing_loads):
    def check(words, video, out=tmp_path / "out.mp4"):
        with pytest.raises(LuminaError, match=words):
            make_audio(AudioRequest(settings=settings, video=video, out=out))

    check("absent.mp4 does not exist", tmp_path / "absent.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    check("text.mp4", tmp_path / "text.mp4")
    check("1 frame", videos(1, 8.0))
    check("The clip is 130 s long", videos(130, 1.0))
    check("suffix '.avi'", videos(), tmp_path / "out.avi")
    check("does not exist", videos(), tmp_path / "no" / "out.mp4")
    check("H.264", raw_video(tmp_path / "raw.avi"))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["raw.avi", "text.mp4"]


def raw_video(path):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=8)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        for picture in (moving(8, 16) * 255).byte().numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("frames, fps, words", [
    (moving(1), 8.0, "has 1 frame"),
    (moving(8), 0.0, "fps is 0.0"),
    (moving(8), float("nan"), "fps is nan"),
    (moving(8), None, "fps is None"),
    (moving(8)[..., :2], 8.0, "expected float .frames, height, width, 3."),
    (moving(8) * float("nan"), 8.0, "NaN"),
    (moving(2), 100.0, "The clip is 0.02 s long"),
])  # fmt: skip
def test_frames_that_get_no_sound(settings, frames, fps, words, nothing_loads):
    with pytest.raises(LuminaError, match=words):
        audio_for_frames(settings, frames, fps)


def test_a_prompt_that_is_too_long_is_told(settings):
    told = Told()
    audio_for_frames(replace(settings, prompt="bell " * 30), moving(8), 8.0, told)
    assert re.fullmatch(r"The prompt is too long: its last \d+ tokens were cut\.", told.notes[0])
