"""One training item: which conditions are dropped how often, and what is cut out of the latents."""

import math

import pytest
import torch

from lumina_core.sampling.denoiser import NO_MOTION
from lumina_core.train.recipe import ConditionDropout, Source, Task
from lumina_core.train.shards import Entry
from lumina_core.train.training_sample import crop_latents, make_sample, motion_condition

SOURCE = Source(name="clips", encoded="clips", system_prompt="You draw clips. ")
TASK = Task(name="fine", patch="1x2", batch=1, time_shift=2.0)
DRAWS = 3000


def entry(**changes) -> Entry:
    fields = dict(
        name="a",
        kind="video",
        caption="a cat",
        motion=3.5,
        shape=(2, 1, 2, 2),
        fps=8.0,
        shard="shard-00000.safetensors",
    )
    return Entry(**fields | changes)


def about(count: int, rate: float) -> bool:
    """Whether a count of DRAWS fits a rate; a right program misses it once in 15000 times."""
    return abs(count - rate * DRAWS) <= 4 * math.sqrt(rate * (1 - rate) * DRAWS)


def items(drop: ConditionDropout, **changes) -> list:
    numbers = torch.Generator().manual_seed(0)
    one = entry(**changes)
    latents = torch.zeros(one.shape)
    return [make_sample(one, latents, one.shape[1:], SOURCE, TASK, drop, numbers) for _ in range(DRAWS)]


@pytest.mark.parametrize(("prompt", "motion"), [(0.2, 0.3), (0.0, 1.0), (1.0, 0.0)])
def test_drop_rates_of_a_clip(prompt, motion):
    found = items(ConditionDropout(prompt=prompt, motion=motion))
    assert {item.text for item in found} <= {"You draw clips. ", "You draw clips. a cat"}
    assert {item.motion for item in found} <= {3.5, NO_MOTION}
    without_prompt = [item for item in found if item.text == "You draw clips. "]
    without_motion = [item for item in found if item.motion == NO_MOTION]
    both = sum(item.motion == NO_MOTION for item in without_prompt)
    assert about(len(without_prompt), prompt) and about(len(without_motion), motion)
    assert about(both, prompt * motion)


def test_drop_rates_when_a_recipe_says_nothing():
    found = items(ConditionDropout())
    assert about(sum(item.text == SOURCE.system_prompt for item in found), 0.2)
    assert about(sum(item.motion == NO_MOTION for item in found), 0.3)


@pytest.mark.parametrize("motion", [None, 7.0])
def test_an_image_says_that_nothing_moves_or_nothing(motion):
    found = items(ConditionDropout(motion=0.0), kind="image", motion=motion, fps=None)
    assert {item.motion for item in found} == {0.0, NO_MOTION}
    assert about(sum(item.motion == NO_MOTION for item in found), 0.6)


def test_an_unknown_motion_score_is_a_dropped_one():
    numbers = torch.Generator().manual_seed(0)
    never = ConditionDropout(motion=0.0)
    assert all(motion_condition(entry(motion=None), never, numbers) == NO_MOTION for _ in range(50))


def test_a_clip_that_stands_still_is_not_an_unknown_one():
    assert motion_condition(entry(motion=0.0), ConditionDropout(motion=0.0), torch.Generator()) == 0.0


def test_cuts_begin_at_every_frame_and_lie_in_the_middle():
    latents = torch.arange(2 * 7 * 5 * 8.0).view(2, 7, 5, 8)
    numbers = torch.Generator().manual_seed(0)
    starts = []
    for _ in range(700):
        found = crop_latents(latents, (4, 4, 4), numbers)
        assert found.shape == (2, 4, 4, 4)
        first = int((found[0, 0, 0, 0] - latents[0, 0, 0, 2]) / 40)
        assert torch.equal(found, latents[:, first : first + 4, 0:4, 2:6])
        starts.append(first)
    assert set(starts) == {0, 1, 2, 3}
    assert min(starts.count(first) for first in range(4)) > 175 - 4 * math.sqrt(175 * 0.75)


def test_nothing_is_cut_off_latents_of_the_right_size(random):
    latents = random(2, 4, 4, 8)
    assert torch.equal(crop_latents(latents, (4, 4, 8), torch.Generator()), latents)


def test_an_item_depends_on_its_generator_alone(random):
    latents, one = random(2, 3, 4, 8), entry(shape=(2, 3, 4, 8))
    first, again, other = (
        make_sample(one, latents, (2, 4, 4), SOURCE, TASK, ConditionDropout(), torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(first.noise, again.noise) and torch.equal(first.data, again.data) and first.t == again.t
    assert (first.text, first.motion) == (again.text, again.motion)
    assert first.noise.shape == first.data.shape == (2, 2, 4, 4)
    assert not torch.equal(first.noise, other.noise) and first.t != other.t
