import itertools
import random as dice

import pytest
import torch
from audio_case import click, tone
from refusals import refused

from lumina_core.evaluation.onsets import MIN_GAP, Agreement, Onsets, accuracy_and_precision, find_onsets, match, pooled
from lumina_core.mini.audio_world import events, random_audio_scene, synthesize
from lumina_core.shapes.audio_rates import SAMPLE_RATE


@pytest.mark.parametrize("at", [0.04, 0.5, 1.0017, 1.333, 2.97])
def test_a_click_is_found_where_it_is(at):
    (found,) = find_onsets(click(at, 3.0)).times
    assert abs(found - at) < 0.005


@pytest.mark.parametrize("gain", [1e-3, 1.0])
def test_loudness_changes_nothing(gain):
    assert find_onsets(gain * click(0.7, 2.0)).times == pytest.approx(find_onsets(click(0.7, 2.0)).times, abs=1e-3)


def test_nothing_begins_in_silence_steady_noise_and_a_steady_tone(random):
    for steady in (torch.zeros(1, 64000), 0.1 * random(1, 160000), 1e-3 * random(1, 64000), tone(440, 4.0)):
        assert len(find_onsets(steady)) == 0


def test_a_sound_that_is_there_from_the_start_or_cut_at_the_end_has_no_onset():
    bell = tone(523, 2.0) * torch.exp(-torch.arange(32000) / 8000)
    assert find_onsets(bell).times == ()


def test_a_burst_in_noise_is_found(random):
    noise = 0.01 * random(1, 32000)
    noise[:, 16000:17600] += 0.1 * random(1, 1600)
    (found,) = find_onsets(noise).times
    assert abs(found - 1.0) < 0.01


def test_of_two_near_clicks_the_louder_counts_and_two_far_ones_both():
    near = 0.2 * click(1.0, 2.0) + click(1.0 + 0.6 * MIN_GAP, 2.0)
    assert len(find_onsets(near)) == 1
    far = click(1.0, 2.0) + click(1.0 + 2.5 * MIN_GAP, 2.0)
    assert find_onsets(far).times == pytest.approx((1.0, 1.0 + 2.5 * MIN_GAP), abs=0.005)


def test_the_threshold_sorts_by_strength():
    sound = find_onsets(click(0.5, 2.0) + 0.05 * click(1.2, 2.0))
    assert len(sound) == 2 and sound.strengths[0] > sound.strengths[1]
    between = sum(sound.strengths) / 2
    assert find_onsets(click(0.5, 2.0) + 0.05 * click(1.2, 2.0), threshold=between).times == sound.times[:1]


def test_every_event_of_the_mini_world_is_heard():
    found = []
    for seed in range(10):
        scene = random_audio_scene(dice.Random(seed))
        found.append(match(find_onsets(synthesize(scene)[None]).times, [event.time for event in events(scene)]))
    whole = pooled(found)
    assert whole.true > 10
    assert whole.f1 == 1
    assert whole.mean_absolute_lag < 0.003


def test_onsets_agree_with_librosas():
    librosa = pytest.importorskip("librosa", reason="librosa is not installed: onsets are not compared with its")
    clicks = sum(click(at, 4.0) for at in (0.5, 1.21, 2.0, 3.13))
    theirs = librosa.onset.onset_detect(y=clicks[0].numpy(), sr=SAMPLE_RATE, units="time", hop_length=128)
    assert match(find_onsets(clicks).times, theirs.tolist(), tolerance=0.03).f1 == 1


@pytest.mark.parametrize("wave", [torch.zeros(16000), torch.zeros(2, 16000), torch.zeros(1, 100)])
def test_other_shapes_are_refused(wave):
    with refused("waveform", "value", str(tuple(wave.shape))):
        find_onsets(wave)


def test_values_that_are_not_finite_are_refused():
    with refused("waveform", "numerics"):
        find_onsets(torch.full((1, 16000), float("nan")))


def test_matching_is_one_to_one_and_nearest_first():
    found = match([1.0, 1.05, 2.0], [1.04, 3.0])
    assert (found.found, found.true) == (3, 2)
    assert found.lags == pytest.approx((0.01,))
    assert (found.precision, found.recall) == pytest.approx((1 / 3, 1 / 2))
    assert found.f1 == pytest.approx(2 / 5)


def test_lags_are_positive_when_late():
    assert match([1.05], [1.0]).lags == pytest.approx((0.05,))
    assert match([0.95], [1.0]).lags == pytest.approx((-0.05,))
    assert match([0.95], [1.0]).mean_absolute_lag == pytest.approx(0.05)


@pytest.mark.parametrize(("found", "true"), [([], [1.0]), ([1.0], []), ([], [])])
def test_empty_lists_have_no_shares_of_nothing(found, true):
    result = match(found, true)
    assert result.lags == () and result.mean_absolute_lag is None
    assert result.precision == (0 if found else None)
    assert result.recall == (0 if true else None)
    assert result.f1 == (0 if found or true else None)


def test_pooling_counts_onsets_not_clips():
    whole = pooled([Agreement(1, 1, (0.01,)), Agreement(3, 3, ())])
    assert whole.f1 == pytest.approx(1 / 4)
    assert pooled([]).f1 is None


def slow_average_precision(entries, total):
    """(score, right) of every entry: area under precision over recall, by thresholds."""
    area, before = 0.0, 0.0
    for threshold in sorted({score for score, _ in entries}, reverse=True):
        taken = [right for score, right in entries if score >= threshold]
        recall = sum(taken) / total
        area += (recall - before) * sum(taken) / len(taken)
        before = recall
    return area


def test_average_precision_of_a_worked_example():
    onsets = Onsets((0.5, 1.0, 2.0, 3.0), (4.0, 1.0, 3.0, 2.0))
    accuracy, precision = accuracy_and_precision(onsets, [0.55, 1.02, 3.5])
    assert accuracy == pytest.approx(2 / 3)
    # Right at ranks 1 and 4 of 4; one of three is missed.
    assert precision == pytest.approx((1 / 1 + 2 / 4) / 3)


def test_average_precision_equals_its_definition_at_every_outcome():
    for rights in itertools.product((True, False), repeat=4):
        for missed in range(3):
            true = [float(place) for place, right in enumerate(rights) if right] + [10.0 + i for i in range(missed)]
            if not true:
                continue
            onsets = Onsets((0.0, 1.0, 2.0, 3.0), (4.0, 3.0, 2.0, 1.0))
            entries = list(zip(onsets.strengths, rights, strict=True))
            _, precision = accuracy_and_precision(onsets, true)
            assert precision == pytest.approx(slow_average_precision(entries, len(true)))


def test_the_strongest_onset_near_an_event_is_taken():
    onsets = Onsets((0.99, 1.05), (1.0, 2.0))
    assert accuracy_and_precision(onsets, [1.0]) == (1.0, 1.0)
    assert accuracy_and_precision(onsets, []) == (None, None)
    assert accuracy_and_precision(Onsets((), ()), [1.0]) == (0.0, 0.0)
