"""Which sounds are trained on, and that all streams of one stay together in time."""

import math
from collections import Counter

import pytest
import torch
from audio_train_case import SYNC, TEXT, TOKENS, VISUAL, case, recipe, sound_item, write_sounds
from refusals import refused

from lumina_core.train.audio.shards import AudioEntry, AudioSet, AudioShardWriter
from lumina_core.train.audio.training_sample import (
    audio_batches,
    batch_condition,
    crop_audio,
    crop_shape,
    make_audio_sample,
)

DRAWS = 2000


def timed_item(rows: int):
    """An item whose tensors hold the second at which each part of them begins."""
    segments, frames = -(-rows // 8) - 1, round(rows / 25 * 8)
    return sound_item(
        0,
        mean=(torch.arange(rows) / 25)[None, :, None].expand(2, rows, 16),
        std=torch.zeros(2, rows, 16),
        visual=(torch.arange(frames) / 8)[:, None].expand(frames, VISUAL),
        sync=(torch.arange(segments) * 0.32)[:, None, None].expand(segments, 8, SYNC),
        seconds=rows / 25,
    )


def entry_of(item) -> AudioEntry:
    shapes = {name: tuple(getattr(item, name).shape) for name in ("mean", "visual", "sync", "text")}
    return AudioEntry(name=item.name, caption="", seconds=item.seconds, av_align=None, shard="", **shapes)


@pytest.mark.parametrize(("rows", "most"), [(200, 64), (200, 96), (100, 16), (40, 24), (202, 200)])
def test_a_crop_keeps_all_streams_at_one_time(rows, most):
    item = timed_item(rows)
    shape = crop_shape(entry_of(item), most, 2)
    assert shape == (most, round(most * 8 / 25), most // 8 - 1)
    numbers, starts = torch.Generator().manual_seed(1), Counter()
    for _ in range(40 * rows // 8):
        cut = crop_audio(item, shape, numbers)
        row, frame, segment = (float(tensor.flatten()[0]) for tensor in (cut.mean[0], cut.visual, cut.sync))
        assert row == pytest.approx(segment, abs=1e-5), "a crop begins with a segment"
        assert abs(frame - row) <= 1 / 16 + 1e-6, "the visual frame nearest in time"
        for tensor, dim, length in (
            (cut.mean, 1, most),
            (cut.std, 1, most),
            (cut.visual, 0, shape[1]),
            (cut.sync, 0, shape[2]),
        ):
            assert tensor.shape[dim] == length
        assert cut.seconds == most / 25
        # The last segment ends where the crop does: 16 frames of 40 ms.
        assert float(cut.sync[-1, 0, 0]) + 0.64 == pytest.approx(row + most / 25, abs=1e-5)
        starts[round(row / 0.32)] += 1
    assert set(starts) == set(range((rows - most) // 8 + 1)), "every possible beginning is met, and no other"


@pytest.mark.parametrize(("rows", "most", "patch"), [(40, None, 2), (40, 40, 2), (42, 64, 4), (6, 16, 2)])
def test_an_item_that_is_short_enough_is_used_whole(rows, most, patch):
    item = sound_item(1, rows=rows, sync=torch.zeros(max(1, -(-rows // 8) - 1), 8, SYNC))
    shape = crop_shape(entry_of(item), most, patch)
    assert shape == (rows - rows % patch, len(item.visual), len(item.sync))
    cut = crop_audio(item, shape, torch.Generator())
    assert torch.equal(cut.mean, item.mean[:, : shape[0]])
    assert torch.equal(cut.visual, item.visual) and torch.equal(cut.sync, item.sync)


def made(tmp_path, count: int = DRAWS, **changes) -> list:
    setup, item, numbers = recipe(case(tmp_path, **changes)), sound_item(3), torch.Generator().manual_seed(7)
    shape = crop_shape(entry_of(item), 24, 2)
    return [make_audio_sample(item, shape, setup, numbers) for _ in range(count)]


def test_streams_are_left_out_at_their_rates_each_by_itself(tmp_path):
    found = Counter((item.no_video, item.no_text) for item in made(tmp_path, drop={"video": 0.3, "text": 0.2}))
    for pair, rate in {(True, True): 0.06, (True, False): 0.24, (False, True): 0.14, (False, False): 0.56}.items():
        assert abs(found[pair] - rate * DRAWS) < 4 * math.sqrt(rate * (1 - rate) * DRAWS), pair


@pytest.mark.parametrize(("rate", "always"), [(0.0, False), (1.0, True)])
def test_a_rate_of_none_and_of_all_are_meant(tmp_path, rate, always):
    items = made(tmp_path, 50, drop={"video": rate, "text": rate})
    assert {item.no_video for item in items} == {item.no_text for item in items} == {always}


def test_data_are_drawn_from_the_posterior_and_times_as_the_recipe_says(tmp_path):
    item, setup = sound_item(3), recipe(case(tmp_path, max_rows=None))
    shape, numbers = crop_shape(entry_of(item), None, 2), torch.Generator().manual_seed(2)
    items = [make_audio_sample(item, shape, setup, numbers) for _ in range(DRAWS)]
    data = torch.stack([one.data for one in items])
    assert float((data.mean(dim=0) - item.mean).abs().max()) < 6 * float(item.std.max()) / math.sqrt(DRAWS)
    torch.testing.assert_close(data.std(dim=0), item.std, atol=6 / math.sqrt(2 * DRAWS), rtol=0)
    logits = torch.stack([one.t for one in items]).logit()
    assert abs(float(logits.mean())) < 4 / math.sqrt(DRAWS) and abs(float(logits.std()) - 1) < 4 / math.sqrt(2 * DRAWS)


def test_the_same_numbers_make_the_same_item(tmp_path):
    first, again = (made(tmp_path, 3)[2] for _ in range(2))
    assert all(torch.equal(getattr(first, name), getattr(again, name)) for name in ("data", "noise", "t", "visual"))
    assert (first.no_video, first.no_text) == (again.no_video, again.no_text)


def test_a_batch_s_condition_masks_what_fills_its_texts_up(tmp_path):
    items = made(tmp_path, 3)
    items = [
        type(one)(**vars(one) | {"text": torch.full((length, TEXT), float(length))})
        for one, length in zip(items, (2, 5, 1), strict=True)
    ]
    found = batch_condition(items, TOKENS)
    assert found.text.shape == (3, TOKENS, TEXT)
    assert found.text_mask.tolist() == [[place < length for place in range(TOKENS)] for length in (2, 5, 1)]
    for row, length in enumerate((2, 5, 1)):
        assert torch.equal(found.text[row, :length], items[row].text) and not found.text[row, length:].any()
    assert found.no_video.tolist() == [one.no_video for one in items]
    assert found.no_text.tolist() == [one.no_text for one in items]
    assert torch.equal(found.visual[1], items[1].visual) and torch.equal(found.sync[2], items[2].sync)


def scored_set(folder, scores) -> AudioSet:
    with AudioShardWriter(folder) as writer:
        for index, score in enumerate(scores):
            writer.add(sound_item(index, av_align=score))
    return AudioSet(folder)


def picked(folder, tmp_path, least) -> set[int]:
    source = {"encoded": str(folder), **({} if least is None else {"min_av_align": least})}
    setup = recipe(case(tmp_path, sources={"one": source}, batch=2))
    batches = audio_batches(setup, {"one": AudioSet(folder)}, 2)
    return {pick.index for step in range(8) for pick in batches.at(step)}


def test_a_least_av_align_keeps_the_items_that_have_it(tmp_path):
    scored_set(tmp_path / "scored", [0.1, 0.25, None, 0.2, 0.19, 0.9])
    assert picked(tmp_path / "scored", tmp_path, 0.2) == {1, 3, 5}
    assert picked(tmp_path / "scored", tmp_path, 0) == {0, 1, 3, 4, 5}
    assert picked(tmp_path / "scored", tmp_path, None) == set(range(6))


@pytest.mark.parametrize(
    ("scores", "found"), [([0.1, None, 0.3], "the highest score is 0.3"), ([None], "none has a score")]
)
def test_a_least_av_align_that_leaves_nothing_is_one_sentence(tmp_path, scores, found):
    scored_set(tmp_path / "scored", scores)
    with refused("min_av_align", "mismatch", "Source one", "0.5", found):
        picked(tmp_path / "scored", tmp_path, 0.5)


def test_a_batch_holds_sounds_of_one_shape(tmp_path):
    write_sounds(tmp_path / "mixed", 5)
    write_sounds(tmp_path / "mixed", 5, first=5, rows=16)
    write_sounds(tmp_path / "mixed", 5, first=10, rows=80)
    setup = recipe(case(tmp_path, sources={"mixed": {"encoded": str(tmp_path / "mixed")}}, max_rows=40, batch=3))
    batches, seen = audio_batches(setup, {"mixed": AudioSet(tmp_path / "mixed")}, 2), Counter()
    for step in range(12):
        picks = batches.at(step)
        assert batches.active(step) and len(picks) == 3 and len({pick.shape for pick in picks}) == 1
        seen[picks[0].shape] += 1
    assert set(seen) == {(40, 13, 4), (16, 5, 1)}, "a crop of a longer sound is as one that is so long"


def test_sounds_come_back_as_they_were_given(tmp_path):
    write_sounds(tmp_path / "set", 3)
    with AudioShardWriter(tmp_path / "set", items_per_shard=2) as writer:
        assert writer.done == {"sound-0", "sound-1", "sound-2"}
        for index in (3, 4, 5):
            writer.add(sound_item(index, av_align=None))
    found = AudioSet(tmp_path / "set")
    assert len(found) == 6 and len({entry.shard for entry in found.entries}) == 3
    for index in range(6):
        item, wanted = found.item(index), sound_item(index)
        assert (item.name, item.caption, item.seconds) == (wanted.name, wanted.caption, wanted.seconds)
        assert item.av_align == (wanted.av_align if index < 3 else None)
        for name in ("mean", "std", "visual", "sync", "text"):
            assert torch.equal(getattr(item, name), getattr(wanted, name).half().float()), name


def test_a_set_of_clips_is_no_set_of_sounds(tmp_path):
    from train_case import write_clips

    with refused("encoded", "file", "index.jsonl line 1"):
        AudioSet(write_clips(tmp_path / "clips"))
