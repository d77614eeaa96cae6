"""What all pipelines share: device and dtype, which networks stay loaded, progress, seeds and outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Literal, TypeVar, get_args

import torch

from ..errors import LuminaError
from ..runtime.devices import DTYPES, pick_device, pick_dtype, release_memory
from ..sampling.noise import MAX_SEED, seeded_noise
from ..sampling.step_update import StepUpdate

Keep = Literal["one", "all"]
Network = TypeVar("Network")


class ProgressObserver:
    """What a run reports while it works, for video, image and audio alike. Override what you want to see.

    Methods are called in the thread of the run, and what they raise ends it.
    """

    def stage(self, text: str) -> None:
        """A part of the run begins, such as ``reading the network``."""

    def note(self, text: str) -> None:
        """Something that the user should know, one sentence."""

    def sampling(self, costs: Sequence[int]) -> None:
        """Sampling begins. ``costs``: relative cost of each step of the plan (FLOPs for video), by its index."""

    def step(self, update: StepUpdate) -> bool | None:
        """A step is finished; returning False cancels the run with ``SamplingCancelled``."""

    def frames(self, frames: torch.Tensor) -> None:
        """Frames (f, H, W, 3), float in 0..1, are decoded; clip after clip, in order."""

    def close(self) -> None:
        """Sampling is over, also when it failed."""


class _StepCallback(ProgressObserver):
    """Passes steps to a function and ignores the rest."""

    def __init__(self, function: Callable[[StepUpdate], bool | None]):
        self._function = function

    def step(self, update: StepUpdate) -> bool | None:
        return self._function(update)


Callback = ProgressObserver | Callable[[StepUpdate], bool | None]


def as_observer(callback: Callback | None) -> ProgressObserver:
    """An observer of ``callback``: itself, a function that is called after each step, or None. Raises LuminaError."""
    if isinstance(callback, ProgressObserver):
        return callback
    if callback is None:
        return ProgressObserver()
    if callable(callback):
        return _StepCallback(callback)
    raise LuminaError(
        f"callback is a {type(callback).__name__}; give a ProgressObserver, or a function that takes a StepUpdate.",
        field="callback",
    )


class Pipeline:
    """Device, dtype, and the networks that are loaded.

    Args:
        device: auto, cpu, cuda, cuda:1, mps, or a ``torch.device``.
        dtype: auto (bf16 on CUDA, fp32 elsewhere), fp32, bf16, fp16, or a ``torch.dtype``.
        keep: which networks stay in memory. ``one``: only the one that is at work; each is released after its stage.
            ``all``: every network stays loaded from its first use until ``unload``. Within one call every file is read
            once either way.

    Raises:
        LuminaError: this machine lacks the device, or a name is unknown.
    """

    def __init__(self, device: str | torch.device = "auto", dtype: str | torch.dtype = "auto", keep: Keep = "one"):
        if keep not in get_args(Keep):
            raise LuminaError(f"keep is {keep!r}; write 'one' or 'all'.", field="keep")
        self.device = pick_device(str(device))
        self.dtype = pick_dtype(dtype_name(dtype), self.device)
        self.keep: Keep = keep
        self._networks: dict[str, Any] = {}

    @contextmanager
    def network(self, name: str, load: Callable[[], Network]) -> Iterator[Network]:
        """The network ``name`` for the length of a ``with`` block, loaded by ``load()`` unless it is in memory.

        After the block it is released where ``keep`` is ``one``; the caller must not hold another reference to it. A
        block inside another one of the same network uses what the outer one loaded, and leaves the release to it.
        """
        outermost = name not in self._networks
        if outermost:
            self._networks[name] = load()
        try:
            yield self._networks[name]
        finally:
            if outermost and self.keep == "one":
                self.unload(name)

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names of the networks in memory."""
        return tuple(self._networks)

    def unload(self, *names: str) -> None:
        """Release these networks, or all of them; the next call reads their files again."""
        for name in names or self.loaded:
            self._networks.pop(name, None)
        release_memory(self.device)


def dtype_name(dtype: str | torch.dtype) -> str:
    """The name by which ``pick_dtype`` knows a dtype, such as ``bf16``; a text stays as it is. Raises LuminaError."""
    if isinstance(dtype, str):
        return dtype
    for name, value in DTYPES.items():
        if value == dtype:
            return name
    raise LuminaError(f"dtype is {dtype}; use one of {', '.join(map(str, DTYPES.values()))}.", field="dtype")


def check_packages(*names: str) -> None:
    """Raise LuminaError unless all of these packages are installed."""
    for name in names:
        if find_spec(name) is None:
            raise LuminaError(
                f"The package {name} is not installed; run: pip install {name}.", field=name, kind="missing"
            )


def check_seed(seed: object) -> int:
    """``seed``, if it is a whole number from 0 to 2**64 - 1. Raises LuminaError."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise LuminaError(f"seed is {seed}; write a whole number from 0 to {MAX_SEED}.", field="seed")
    return seed


def clip_seeds(seed: int | Sequence[int], prompts: int, per_prompt: int) -> tuple[int, ...]:
    """One seed for each result, prompt by prompt.

    Args:
        seed: a number s gives s, s + 1, ... to the results of a prompt, the same for every prompt. A list gives one to
            each result; with one prompt and one result asked for, its length says how many results there are.
        prompts: how many prompts.
        per_prompt: results of each prompt.

    Raises:
        LuminaError: a seed is out of range, or the list is of another length.
    """
    if isinstance(seed, int):
        first = check_seed(seed)
        return tuple(check_seed(first + i) for i in range(per_prompt)) * prompts
    seeds = tuple(check_seed(each) for each in seed)
    total = len(seeds) if prompts == per_prompt == 1 else prompts * per_prompt
    if not seeds or len(seeds) != total:
        raise LuminaError(f"There are {len(seeds)} seeds for {total} results; give one for each.", field="seed")
    return seeds


def draw_noise(
    shape: Sequence[int],
    seeds: Sequence[int],
    generator: torch.Generator | Sequence[torch.Generator] | None,
    device: torch.device,
    dtype: torch.dtype,
    latents: torch.Tensor | None = None,
) -> torch.Tensor:
    """Noise (B, *shape) for ``len(seeds)`` results: each from its seed, from ``generator``, or given as ``latents``.

    Args:
        shape: of one result, without the batch axis.
        seeds: one per result; see ``seeded_noise``. Ignored where a generator is given.
        generator: one that all results are drawn from, in order, or one per result. It draws on its own device, in
            float32 on the CPU and in ``dtype`` on a GPU, as ``seeded_noise`` does.
        device, dtype: of the result.
        latents: (1 or B, *shape), used in place of all others.

    Raises:
        LuminaError: a list of generators is not as long as there are results, or ``latents`` is of another shape.
    """
    if latents is not None:
        wanted, found = (len(seeds), *shape), tuple(latents.shape)
        if found[:1] not in ((1,), wanted[:1]) or found[1:] != wanted[1:]:
            raise LuminaError(f"The latents have shape {found}; expected {wanted}.", field="latents")
        return latents.expand(wanted).to(device, dtype)
    if generator is None:
        return torch.cat([seeded_noise((1, *shape), seed, device, dtype) for seed in seeds])
    generators = [generator] * len(seeds) if isinstance(generator, torch.Generator) else list(generator)
    if len(generators) != len(seeds):
        raise LuminaError(
            f"There are {len(generators)} generators for {len(seeds)} results; give one, or one for each.",
            field="generator",
        )
    return torch.cat([_drawn(shape, each, dtype) for each in generators]).to(device, dtype)


def _drawn(shape: Sequence[int], generator: torch.Generator, dtype: torch.dtype) -> torch.Tensor:
    drawn_in = torch.float32 if generator.device.type == "cpu" else dtype
    return torch.randn((1, *shape), generator=generator, device=generator.device, dtype=drawn_in)


def check_output_type(output_type: str, *known: str) -> str:
    """``output_type``, if it is one of ``known``. Raises LuminaError."""
    if output_type not in known:
        raise LuminaError(f"output_type is '{output_type}'; use one of {', '.join(known)}.", field="output_type")
    return output_type
