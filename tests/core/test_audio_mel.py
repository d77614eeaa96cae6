"""The log-mel spectrogram against a slow one written from the formulas, and against librosa."""

import math

import pytest
import torch

from lumina_core.audio.mel import log_mel


def slaney(hertz):
    """Hertz to Slaney's mel: straight up to 1 kHz, logarithmic above."""
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def back(mel):
    return mel * 200 / 3 if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)


def slow_log_mel(wave):
    """(N,) float64 to (frames, 64): one frame, one bin at a time."""
    edges = [back(slaney(8000) * i / 65) for i in range(66)]
    bank = torch.zeros(64, 513, dtype=torch.float64)
    for b in range(64):
        low, middle, high = edges[b : b + 3]
        for f in range(513):
            hertz = f * 8000 / 512
            height = max(0.0, min((hertz - low) / (middle - low), (high - hertz) / (high - middle)))
            bank[b, f] = height * 2 / (high - low)
    window = torch.tensor([0.5 - 0.5 * math.cos(2 * math.pi * n / 1024) for n in range(1024)], dtype=torch.float64)
    padded = torch.cat([wave[1:513].flip(0), wave, wave[-513:-1].flip(0)])
    frames = []
    for frame in range(len(wave) // 160):
        spectrum = torch.fft.fft(padded[160 * frame : 160 * frame + 1024] * window)[:513].abs()
        frames.append((bank @ spectrum).clamp(min=1e-5).log())
    return torch.stack(frames)


@pytest.mark.parametrize("count", [1600, 4005, 640])
def test_it_equals_the_slow_one(random, count):
    wave = random(2, count)
    wave[1] *= torch.linspace(0, 1, count)
    found = log_mel(wave)
    assert found.shape == (2, 1, count // 160, 64)
    for item in range(2):
        assert torch.allclose(found[item, 0].double(), slow_log_mel(wave[item].double()), atol=1e-4)


def test_it_equals_librosa(random):
    librosa = pytest.importorskip("librosa", reason="librosa is not installed: its mel spectrogram is not compared")
    wave = random(16000) * 0.1
    settings = {"sr": 16000, "n_fft": 1024, "hop_length": 160, "n_mels": 64, "fmin": 0, "fmax": 8000}
    wanted = librosa.feature.melspectrogram(y=wave.numpy(), power=1.0, pad_mode="reflect", **settings)
    wanted = torch.from_numpy(wanted).clamp(min=1e-5).log().T[:100]
    assert torch.allclose(log_mel(wave[None])[0, 0], wanted, atol=1e-4)


def test_silence_lies_at_the_floor():
    assert torch.equal(log_mel(torch.zeros(1, 1600)), torch.full((1, 1, 10, 64), math.log(1e-5)))
