"""Sound in files, read back as a player would."""

import wave as wave_files

import av
import pytest
import torch
from audio_case import click, tone
from refusals import refused

from lumina_core.audio.files import has_audio, mux, read_audio, write_wav
from lumina_core.errors import LuminaError
from lumina_core.media.writer import read_metadata, write_video


@pytest.fixture
def clip(tmp_path):
    """A silent clip of 2.5 s."""
    torch.manual_seed(0)
    return write_video(tmp_path / "clip.mp4", torch.rand(20, 32, 48, 3), 8, metadata={"lumina_video": "mine"}).path


def streams(path):
    with av.open(str(path)) as container:
        return {s.type: (float(s.duration * s.time_base), s.codec_context.name) for s in container.streams}


def packets(path):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.dts is not None]


def test_pictures_are_copied_and_both_streams_are_equally_long(clip, tmp_path):
    out = mux(clip, tone(440, 2.5), 16000, tmp_path / "loud.mp4", {"more": "yes"})
    found = streams(out)
    assert set(found) == {"video", "audio"} and found["audio"][1] == "aac"
    assert found["audio"][0] == pytest.approx(found["video"][0], abs=1024 / 16000)
    assert packets(out) == packets(clip)
    assert read_metadata(out)["lumina_video"] == "mine" and read_metadata(out)["more"] == "yes"
    assert not has_audio(clip) and has_audio(out)


@pytest.mark.parametrize("at", [0.0, 0.8, 2.3])
def test_a_click_is_heard_when_it_was_put(clip, tmp_path, at):
    out = mux(clip, click(at, 2.5), 16000, tmp_path / "loud.mp4")
    heard = read_audio(out)[0].abs()
    first = int((heard > 0.3 * heard.max()).nonzero()[0])
    assert first / 16000 == pytest.approx(at, abs=0.01)


def test_a_sound_that_was_there_is_replaced_even_in_place(clip):
    mux(clip, tone(440, 2.5), 16000, clip)
    mux(clip, tone(1000, 2.5), 16000, clip)
    with av.open(str(clip)) as container:
        assert len(container.streams.audio) == 1
    assert torch.fft.rfft(read_audio(clip)[0, :16000]).abs().argmax() == 1000


@pytest.mark.parametrize("rate, channels", [(16000, 1), (44100, 2), (48000, 6)])
def test_any_sound_is_read_as_mono_at_16_khz(tmp_path, rate, channels):
    path = tmp_path / "sound.mka"
    with av.open(str(path), "w") as container:
        layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
        stream = container.add_stream("flac", rate=rate, layout=layout)
        samples = (tone(500, 1.0, rate).expand(channels, -1).T.reshape(1, -1) * 32767).short().contiguous().numpy()
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=layout)
        frame.rate, frame.pts = rate, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    found = read_audio(path)
    assert abs(found.shape[1] - 16000) <= 16
    assert torch.fft.rfft(found[0, :16000]).abs().argmax() == pytest.approx(500, abs=1)


def test_wav_comes_back(tmp_path):
    path = write_wav(tmp_path / "tone.wav", tone(440, 0.5))
    with wave_files.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (1, 16000, 8000)
    assert torch.allclose(read_audio(path), tone(440, 0.5), atol=1e-4)
    loud = write_wav(path, 9 * tone(440, 0.5))
    assert read_audio(loud).abs().max() <= 1


def test_what_cannot_be_read_is_told_and_nothing_is_left(clip, tmp_path):
    sound = write_wav(tmp_path / "tone.wav", tone(440, 0.5))
    (tmp_path / "text.mp4").write_text("not a video")
    before = sorted(file.name for file in tmp_path.iterdir())
    for call, field, kind in (
        (lambda: read_audio(clip), "audio", "missing"),
        (lambda: read_audio(tmp_path / "text.mp4"), "audio", "file"),
        (lambda: read_audio(tmp_path / "none.mp4"), "audio", "missing"),
        (lambda: has_audio(tmp_path / "text.mp4"), "audio", "file"),
        (lambda: mux(sound, tone(440, 0.5), 16000, tmp_path / "x.mp4"), "video", "file"),
        (lambda: mux(tmp_path / "text.mp4", tone(440, 0.5), 16000, tmp_path / "x.mp4"), "audio", "file"),
    ):
        with refused(field, kind):
            call()
    with pytest.raises(LuminaError, match="x.avi"):
        mux(clip, tone(440, 0.5), 16000, tmp_path / "x.avi")
    assert sorted(file.name for file in tmp_path.iterdir()) == before
