"""Waveforms: preparing, silence, loudness and rates."""

import math

import pytest
import torch
from audio_case import tone
from refusals import refused

from lumina_core.audio.waveform import check_loudness, is_silent, normalize_loudness, prepare, resample


def test_prepare_takes_the_constant_out_and_sets_the_peak(random):
    wave = random(2, 4000) * 0.01 + 0.3
    found = prepare(wave)
    assert torch.allclose(found.mean(-1), torch.zeros(2), atol=1e-4)
    assert torch.allclose(found.abs().amax(-1), torch.full((2,), 0.5))
    kept = prepare(wave, peak=None)
    assert torch.allclose(kept, wave - wave.mean(-1, keepdim=True))
    assert torch.equal(prepare(torch.zeros(1, 100)), torch.zeros(1, 100))


def test_silence_is_told_from_sound():
    assert is_silent(torch.zeros(1, 100)) and is_silent(torch.full((2, 10), 5e-5))
    assert not is_silent(torch.tensor([[0.0, 0.0, 1e-3]]))


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_a_tone_keeps_its_pitch_and_length_at_another_rate(rate):
    found = resample(tone(440, 1.0, rate), rate)
    assert found.shape == (1, 16000)
    assert torch.fft.rfft(found[0]).abs().argmax() == 440
    same = tone(440, 0.5)
    assert resample(same, 16000) is same


def measured(wave):
    """BS.1770 of a 1 kHz tone, for which the weighting is next to nothing: mean square in LUFS."""
    return -0.691 + 10 * math.log10(float(wave.square().mean()))


@pytest.mark.parametrize("seconds", [0.1, 0.5, 3.0])
def test_loudness_is_the_one_asked_for(seconds):
    quiet = normalize_loudness(tone(1000, seconds) * 0.01, -30)
    assert measured(quiet) == pytest.approx(-30, abs=1.2)
    two = normalize_loudness(torch.cat([tone(1000, seconds), tone(1000, seconds) * 0.1]), -30)
    assert torch.allclose(two[0], two[1], atol=2e-3)


def test_loud_is_kept_from_clipping_and_silence_stays():
    wave = torch.zeros(1, 16000)
    wave[0, 8000] = 0.5
    assert normalize_loudness(wave, -5).abs().max() <= 0.99 + 1e-6
    assert torch.equal(normalize_loudness(torch.zeros(1, 16000), -16), torch.zeros(1, 16000))


@pytest.mark.parametrize("lufs", [0.0, -71.0, float("nan"), float("inf")])
def test_impossible_loudness_is_told(lufs):
    with refused("loudness"):
        check_loudness(lufs)
