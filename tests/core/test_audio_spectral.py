import numpy as np
import pytest
import torch
from audio_case import click, tone
from refusals import refused

from lumina_core.audio.mel import log_mel
from lumina_core.evaluation.spectral import (
    envelope_lag,
    frechet,
    log_spectral_distance,
    mel_distance,
    mel_frechet,
    silence_share,
)


def test_a_sound_is_no_distance_from_itself():
    sound = tone(440, 1.0)
    assert mel_distance(sound, sound) == 0
    assert log_spectral_distance(sound, sound) == 0


def test_mel_distance_is_the_mean_gap_of_the_log_mels_over_the_shorter(random):
    first, second = 0.1 * random(1, 16000), 0.1 * random(1, 24000)
    wanted = (log_mel(first)[:, :, :90] - log_mel(second)[:, :, :90]).abs().mean()
    assert mel_distance(first, second) == mel_distance(second, first)
    assert mel_distance(first, second) == pytest.approx(float(wanted), rel=0.05)


def test_ten_times_louder_is_twenty_decibels(random):
    quiet = 0.05 * random(1, 16000)
    # Nothing in so loud a noise is near the floor.
    assert log_spectral_distance(10 * quiet, quiet, floor=1e-9) == pytest.approx(20, abs=0.01)
    assert mel_distance(10 * quiet, quiet) == pytest.approx(np.log(10), abs=0.01)


def test_what_lies_below_the_floor_makes_no_distance(random):
    assert log_spectral_distance(1e-6 * random(1, 16000), torch.zeros(1, 16000)) == 0


@pytest.mark.parametrize("lag", [-0.25, 0.0, 0.1, 0.9])
def test_the_envelope_lag_is_the_shift(lag):
    def rhythm(shift):
        return sum(size * click(1.2 + at + shift, 4.0) for at, size in ((0.0, 1.0), (0.33, 0.5), (0.8, 0.8)))

    assert envelope_lag(rhythm(lag), rhythm(0.0)) == pytest.approx(lag, abs=0.0051)


def test_an_even_sound_has_no_lag():
    assert envelope_lag(torch.zeros(1, 16000), click(0.5, 1.0)) is None


def test_silence_share_counts_quiet_pieces():
    half = torch.cat([torch.zeros(1, 16000), tone(440, 1.0)], dim=1)
    assert silence_share(half) == pytest.approx(0.5, abs=0.01)
    assert silence_share(torch.zeros(1, 16000)) == 1
    # An amplitude of 0.3 is -13.5 dB.
    assert silence_share(tone(440, 1.0), decibels=-13.0) == 1
    assert silence_share(tone(440, 1.0), decibels=-14.0) == 0


def test_frechet_distance_of_known_normal_distributions(random):
    """For diagonal covariances it is |m1 - m2|^2 + sum (s1 - s2)^2; the samples have them exactly."""
    white = random(200, 3).double()
    white = white - white.mean(dim=0)
    white = white @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(white.T))).T
    first = white * torch.tensor([1.0, 2.0, 0.5]) + torch.tensor([0.0, 1.0, 0.0])
    second = white * torch.tensor([2.0, 2.0, 1.5]) + torch.tensor([3.0, 1.0, 0.0])
    assert frechet(first, second) == pytest.approx(9 + 1 + 1, rel=1e-9)
    assert frechet(first, first) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_equals_scipys_square_root(random):
    linalg = pytest.importorskip("scipy.linalg", reason="scipy is not installed: no other matrix root to compare with")
    first, second = random(50, 6).double(), random(40, 6).double() @ random(6, 6).double() + 1
    one, other = np.cov(first.numpy().T), np.cov(second.numpy().T)
    gap = first.numpy().mean(0) - second.numpy().mean(0)
    wanted = gap @ gap + np.trace(one + other - 2 * linalg.sqrtm(one @ other).real)
    assert frechet(first, second) == pytest.approx(float(wanted), rel=1e-8)


def test_fewer_vectors_than_their_width_are_enough(random):
    assert frechet(random(3, 10), random(4, 10)) > 0


def test_mel_frechet_tells_kinds_of_sound_apart(random):
    noises = [0.1 * random(1, 16000) for _ in range(6)]
    tones = [tone(hertz, 1.0) for hertz in (200, 300, 400)]
    assert mel_frechet(noises[:3], noises[3:]) < 0.1 * mel_frechet(noises[:3], tones)
    with refused("waveforms", "value", "1 and 3"):
        mel_frechet(noises[:1], tones)


def test_frechet_distance_of_other_widths_is_refused(random):
    with refused("vectors", "value", "(4, 3)", "(4, 2)"):
        frechet(random(4, 3), random(4, 2))


@pytest.mark.parametrize("bad", [torch.zeros(16000), torch.zeros(2, 16000), torch.zeros(1, 100)])
def test_other_shapes_are_refused(bad):
    good = tone(440, 1.0)
    for call in (mel_distance, log_spectral_distance, envelope_lag):
        for pair in ((bad, good), (good, bad)):
            with refused("waveform", "value", str(tuple(bad.shape))):
                call(*pair)
    with refused("waveform", "value", str(tuple(bad.shape))):
        silence_share(bad)


def test_values_that_are_not_finite_are_refused():
    with refused("waveform", "numerics"):
        mel_distance(torch.full((1, 16000), float("nan")), tone(440, 1.0))
