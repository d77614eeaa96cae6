"""How long the frames of a clip with a given beginning are held."""

import pytest
import torch
from fake_network import FakeNetwork
from refusals import refused

from lumina_core.sampling.frame_conditioning import NEVER, FrameCondition, given_latents, release_times
from lumina_core.sampling.noise import noised
from lumina_core.sampling.plan import SamplingPlan
from lumina_core.sampling.video import sample


@pytest.mark.parametrize(("given", "frames"), [(1, 8), (2, 8), (4, 24), (7, 8)])
def test_given_frames_stay_and_the_others_are_let_go_one_after_another(given, frames):
    times = release_times(given, frames, 0.5)
    assert len(times) == frames
    assert times[:given] == (NEVER,) * given
    rest = times[given:]
    assert all(0 < later < earlier < 0.5 for earlier, later in zip(rest, rest[1:], strict=False)) and rest[0] < 0.5


def test_release_times_by_hand():
    # Four latent frames, one given: places 1/4, 2/4, 3/4 of the way, squared from the far end.
    assert release_times(1, 4, 0.8) == pytest.approx([1, 0.8 * 0.75**2, 0.8 * 0.5**2, 0.8 * 0.25**2])


def test_hold_0_holds_the_given_frames_alone():
    assert release_times(2, 5, 0.0) == (NEVER, NEVER, 0, 0, 0)


@pytest.mark.parametrize(("pictures", "frames", "latents"), [(1, 8, 1), (1, 96, 1), (8, 32, 2), (16, 24, 4)])
def test_pictures_in_latent_frames(pictures, frames, latents):
    assert given_latents(pictures, frames) == latents


@pytest.mark.parametrize(
    ("pictures", "frames", "field", "facts"),
    [
        (1, 12, "frames", ["12", "multiple of 8"]),
        (1, 0, "frames", ["0", "multiple of 8"]),
        (0, 32, "image", ["0 images", "multiple of 8"]),
        (3, 32, "image", ["3 images", "multiple of 8"]),
        (9, 32, "image", ["9 images", "multiple of 8"]),
        (12, 32, "image", ["12 images", "multiple of 8"]),
        (32, 32, "image", ["32 images", "32 frames"]),
    ],
)
def test_wrong_numbers_are_told(pictures, frames, field, facts):
    with refused(field, "value", *facts):
        given_latents(pictures, frames)


DRIFT = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


class Drift(FakeNetwork):
    """A network that moves every frame by DRIFT in all."""

    def __init__(self):
        self.seen = []

    def __call__(self, x, t, *rest):
        self.seen.append((float(t[0]), x.clone()))
        return DRIFT.expand_as(x)


def test_held_frames_keep_their_noise_level_until_they_are_free():
    network, plan = Drift(), SamplingPlan(patch="1x2", points=5, time_shift=1.0)
    noise, given = torch.randn(1, 2, 3, 2, 2), torch.randn(1, 2, 3, 2, 2)
    text = torch.zeros(1, 1, 4), None
    found = sample(network, noise, plan, text, text, condition=FrameCondition(given, (NEVER, 0.5, 0.0)))
    torch.testing.assert_close(found[:, :, 0], given[:, :, 0])
    # Held for two of four steps, then free for two.
    torch.testing.assert_close(found[:, :, 1], 0.5 * given[:, :, 1] + 0.5 * noise[:, :, 1] + 0.5 * DRIFT)
    torch.testing.assert_close(found[:, :, 2], noise[:, :, 2] + DRIFT)
    for t, x in network.seen:
        torch.testing.assert_close(x[:1, :, 0], t * given[:, :, 0] + (1 - t) * noise[:, :, 0])


def test_a_late_start_leaves_the_source_as_it_is():
    plan = SamplingPlan(patch="1x2", points=5, time_shift=1.0)
    noise, given = torch.randn(1, 2, 3, 2, 2), torch.randn(1, 2, 3, 2, 2)
    text = torch.zeros(1, 1, 4), None
    torch.testing.assert_close(sample(Drift(), noised(given, noise, 1.0), plan, text, text, start=4), given)
    half = sample(Drift(), noised(given, noise, 0.5), plan, text, text, start=2)
    torch.testing.assert_close(half, 0.5 * given + 0.5 * noise + 0.5 * DRIFT)
