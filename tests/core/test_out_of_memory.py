"""Out of memory in a call of the network: one fallback, one sentence, never a loop."""

import logging
import weakref

import golden
import pytest
import torch
from fake_network import WrappedNetwork
from refusals import refused

from lumina_core import PRESETS, LuminaError, PatchSize, sample
from lumina_core.network.config import VideoConfig
from lumina_core.runtime.oom import OutOfMemory, PerSampleFallback, is_out_of_memory, oom_message
from lumina_core.shapes.latents import LatentSize

FINE, MIDDLE, COARSE = VideoConfig().patches
PLAN = PRESETS["f24F96R960-MultiScale"].replace(points=8, guidance="1 | 0.2: 0")


class Limited(WrappedNetwork):
    """The golden network on a device that holds so many items at once."""

    def __init__(self, items: int, error: Exception | None = None):
        super().__init__(golden.model("cfg2"))
        self.items, self.error = items, error or torch.OutOfMemoryError("CUDA out of memory.")
        self.calls = []

    def __call__(self, x, *rest):
        self.calls.append(len(x))
        if len(x) > self.items:
            raise self.error
        return self.network(x, *rest)


def run(model, random_texts, noise, plan=PLAN):
    return sample(model, noise, plan, *random_texts)


@pytest.fixture
def inputs(random):
    texts = (random(1, 7, 40), None), (random(1, 4, 40), None)
    return texts, random(2, golden.model("cfg2").config.channels, 2, 8, 8)


def test_a_batch_that_does_not_fit_runs_item_by_item(inputs, caplog):
    whole, limited = Limited(4), Limited(1)
    expected = run(whole, *inputs)
    with caplog.at_level(logging.WARNING):
        found = run(limited, *inputs)
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-5)
    assert limited.calls[:6] == [4, 1, 1, 1, 1, 1], "tried at once, then each item, and never at once again"
    assert set(limited.calls[1:]) == {1}
    assert len(limited.calls) == 1 + sum(whole.calls)
    (record,) = caplog.records
    assert "out of memory with 4 samples at once" in record.message and "one after another" in record.message


def test_an_item_that_does_not_fit_is_refused_in_one_sentence(inputs, caplog):
    limited = Limited(0)
    facts = ("64x64", "8 frames", "2x4", "one sample at a time")
    with caplog.at_level(logging.WARNING), refused("size", "resource", *facts, error=OutOfMemory) as caught:
        run(limited, *inputs)
    assert limited.calls == [4, 1]
    assert isinstance(caught.value, torch.OutOfMemoryError), "so that a host frees its models"
    assert len(caplog.records) == 1


def test_another_error_is_not_caught(inputs):
    limited = Limited(0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        run(limited, *inputs)
    assert limited.calls == [4]


def counting(limit: int, log: list):
    """A call that holds `limit` items, and what it asks of its surroundings, written into `log`."""

    def call(items: slice) -> torch.Tensor:
        rows = torch.arange(3.0)[items]
        log.append(len(rows))
        if len(rows) > limit:
            raise torch.OutOfMemoryError
        return rows

    return call, PerSampleFallback(release=lambda: log.append("release"), warn=lambda _: log.append("tell"))


def test_memory_is_freed_once_between_the_two_attempts():
    log = []
    call, fallback = counting(1, log)
    for _ in range(2):
        assert fallback(call, 3, str).tolist() == [0, 1, 2]
    assert log == [3, "release", "tell", 1, 1, 1, 1, 1, 1]


def test_one_item_is_tried_once_more_after_memory_is_freed():
    log = []
    _, fallback = counting(0, log)
    failures = [torch.OutOfMemoryError(), None, torch.OutOfMemoryError()]

    def call(items):
        log.append("call")
        if error := failures.pop(0):
            raise error
        return torch.ones(1)

    assert fallback(call, 1, str).tolist() == [1]
    assert log == ["call", "release", "tell", "call"]
    with pytest.raises(OutOfMemory, match="no more"):
        fallback(call, 1, lambda: "no more")
    assert log[4:] == ["call"], "a later step does not begin again"


def test_tensors_of_the_failed_call_are_gone_when_memory_is_freed():
    alive = []

    def call(items):
        if items == slice(None):
            held = torch.ones(8)
            alive.append(weakref.ref(held))
            raise torch.OutOfMemoryError
        return torch.ones(1)

    PerSampleFallback(release=lambda: alive.append(alive[0]() is not None), warn=str)(call, 2, str)
    assert alive[1] is False


@pytest.mark.parametrize(
    "error, expected",
    [
        (torch.OutOfMemoryError("x"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8.80 GB"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (LuminaError("frames is 5"), False),
    ],
)
def test_what_counts_as_out_of_memory(error, expected):
    assert is_out_of_memory(error) is expected


@pytest.mark.parametrize(
    "size, patch, more, expected",
    [
        (LatentSize(24, 88, 156), FINE, ("fp8 weights",), "at 1248x704 and 96 frames with patch size 1x2, one sample "
         "at a time; use fewer frames, a smaller size, a coarser patch schedule (2x2 or 2x4) or fp8 weights."),
        (LatentSize(24, 88, 156), MIDDLE, (), "with patch size 2x2, one sample at a time; use fewer frames, a smaller "
         "size or a coarser patch schedule (2x4)."),
        (LatentSize(24, 88, 156), COARSE, (), "use fewer frames or a smaller size."),
        (LatentSize(1, 8, 8), COARSE, (), "at 64x64 and an image with patch size 2x4, one sample at a time; use a "
         "smaller size."),
        # One frame fills one patch whatever the temporal patch size.
        (LatentSize(1, 8, 8), FINE, (), "use a smaller size or a coarser patch schedule (2x4)."),
    ],
)  # fmt: skip
def test_the_refusal_names_what_would_help(size, patch, more, expected):
    said = oom_message(size, patch, VideoConfig().patches, more)
    assert expected in said and said.startswith("The network ran out of memory at ")
    assert oom_message(size, PatchSize(1, 2), [PatchSize(1, 2)]).count("coarser") == 0
