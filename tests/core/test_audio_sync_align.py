"""Every sync feature goes to the time at which it was seen."""

import pytest
import torch
from refusals import refused

from lumina_core.network.sync_align import ALIGNMENTS, slots, to_latent_rate
from lumina_core.shapes.audio_rates import SLOT_SECONDS, SLOTS, STRIDE, TUBE

FPS = 25
SEGMENTS = 24


def one_hot(segment: int, feature: int) -> torch.Tensor:
    features = torch.zeros(1, SEGMENTS, SLOTS, 1)
    features[0, segment, feature] = 1
    return features


def frames_of(segment: int, feature: int) -> range:
    """The frames that a feature is made of, by the segments' and tubes' definition."""
    first = STRIDE * segment + TUBE * feature
    return range(first, first + TUBE)


@pytest.mark.parametrize(("segment", "feature"), [(0, 0), (0, 5), (3, 2), (11, 7), (23, 0), (23, 7)])
def test_a_feature_lands_on_the_slot_of_its_frames(segment, feature):
    grid = slots(one_hot(segment, feature))[0, :, 0]
    assert grid.shape == (100,)
    (slot,) = grid.nonzero().flatten().tolist()
    frames = frames_of(segment, feature)
    assert slot * SLOT_SECONDS == pytest.approx(frames.start / FPS)
    assert (slot + 1) * SLOT_SECONDS == pytest.approx(frames.stop / FPS)


def test_slots_are_means_of_the_segments_that_see_them(random):
    features = random(2, 5, SLOTS, 3)
    sums, counts = torch.zeros(2, 24, 3), torch.zeros(24)
    for segment in range(5):
        for feature in range(SLOTS):
            sums[:, 4 * segment + feature] += features[:, segment, feature]
            counts[4 * segment + feature] += 1
    torch.testing.assert_close(slots(features), sums / counts[:, None])


def test_one_segment_is_its_own_grid(random):
    features = random(1, 1, SLOTS, 4)
    assert torch.equal(slots(features), features[:, 0])


@pytest.mark.parametrize(("segment", "feature"), [(0, 0), (7, 1), (12, 6), (23, 7)])
def test_rows_are_at_the_time_of_the_frames(segment, feature):
    rows = to_latent_rate(one_hot(segment, feature), 200)[0, :, 0].nonzero().flatten().tolist()
    # A latent row lasts as long as a frame at 25 fps.
    assert rows == list(frames_of(segment, feature))


def test_rows_behind_the_last_slot_repeat_it_and_fewer_are_a_beginning(random):
    features = random(1, 2, SLOTS, 3)
    rows = to_latent_rate(features, 40)
    assert rows.shape == (1, 40, 3) and torch.equal(rows[:, 24:], rows[:, 23:24].expand(-1, 16, -1))
    assert torch.equal(to_latent_rate(features, 7), rows[:, :7])


def test_the_even_row_of_mmaudio_misplaces_features():
    """192 features over 200 rows, nearest: the feature n = 8i + k is shown around row (n + 0.5) * 200 / 192."""
    worst = 0.0
    for segment in range(SEGMENTS):
        for feature in (0, 7):
            rows = to_latent_rate(one_hot(segment, feature), 200, "mmaudio")[0, :, 0].nonzero().flatten().double()
            number = SLOTS * segment + feature
            assert float((rows.mean() + 0.5) / 200 - (number + 0.5) / 192) == pytest.approx(0, abs=1 / 200)
            error = (float(rows.mean()) + 0.5 - (frames_of(segment, feature).start + 1)) / FPS
            worst = max(worst, abs(error))
    assert 0.2 < worst < 0.32


def test_mmaudio_keeps_the_order_of_the_features(random):
    features = random(2, 3, SLOTS, 4)
    rows = to_latent_rate(features, 24, "mmaudio")
    assert torch.equal(rows, features.flatten(1, 2))


@pytest.mark.parametrize("align", ALIGNMENTS)
def test_gradients_reach_every_feature(random, align):
    features = random(1, 4, SLOTS, 2).requires_grad_()
    to_latent_rate(features, 40, align).square().sum().backward()
    assert (features.grad != 0).all()


@pytest.mark.parametrize("shape", [(1, 24, 7, 3), (24, 8, 3), (1, 0, 8, 3)])
def test_features_of_another_shape_are_told(shape):
    with refused("sync"):
        slots(torch.zeros(shape))


def test_rows_and_alignments_that_do_not_exist_are_told():
    with refused("length", "value", "0"):
        to_latent_rate(one_hot(0, 0), 0)
    with refused("sync_align", "value", "'even'"):
        to_latent_rate(one_hot(0, 0), 10, "even")
