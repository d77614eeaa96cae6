"""The vocoder without weights: what goes in as a spectrogram is heard, where and when it was."""

import math
import random as chance

import pytest
import torch

from lumina_core.audio.griffin_lim import GriffinLimVocoder
from lumina_core.audio.mel import log_mel
from lumina_core.mini.audio_world import random_audio_scene, synthesize
from lumina_core.shapes.audio_rates import MEL_HOP, SAMPLE_RATE


@pytest.fixture(scope="module")
def vocoder():
    return GriffinLimVocoder()


def heard(vocoder, waveform):
    return vocoder(log_mel(waveform)[:, 0])


@pytest.mark.parametrize("frames", [1, 7, 100])
def test_length_is_exact_and_twice_is_the_same(vocoder, random, frames):
    mel = random(2, frames, 64)
    found = vocoder(mel)
    assert found.shape == (2, frames * MEL_HOP) and torch.isfinite(found).all()
    assert torch.equal(found, vocoder(mel))


def test_silence_stays_silent(vocoder):
    assert heard(vocoder, torch.zeros(1, 8000)).abs().max() < 1e-4


@pytest.mark.parametrize("hertz", [300.0, 1000.0, 4000.0])
def test_a_tone_keeps_its_pitch_and_its_loudness(vocoder, hertz):
    wave = 0.3 * torch.sin(2 * math.pi * hertz * torch.arange(16000) / SAMPLE_RATE)[None]
    found = heard(vocoder, wave)
    peak = torch.fft.rfft(found[0]).abs().argmax().item()
    # A band is 37 Hz wide below 1 kHz and about 7 % of its pitch above.
    assert abs(peak - hertz) < max(40, 0.08 * hertz)
    # A wide band's energy falls on several frequencies, which do not add up as one does.
    decibels = 10 * math.log10(float(found.square().mean() / wave.square().mean()))
    assert -9 < decibels < 3


def test_the_sounds_of_the_small_world_come_back(vocoder):
    rng = chance.Random(2)
    waves = torch.stack([synthesize(random_audio_scene(rng)) for _ in range(6)])
    found = heard(vocoder, waves)
    assert (log_mel(found) - log_mel(waves)).abs().mean() < 0.35
    loud, back = (wave.unfold(1, 320, 160).square().mean(-1) for wave in (waves, found))
    for one, other in zip(loud, back, strict=True):
        assert torch.corrcoef(torch.stack([one, other]))[0, 1] > 0.8
