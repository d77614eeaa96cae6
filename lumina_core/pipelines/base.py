"""What all pipelines share: device and dtype, which networks stay loaded, progress, seeds and noise."""

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

# Which networks stay in memory; see ``Pipeline``.
Keep = Literal["one", "all"]
Network = TypeVar("Network")


class ProgressObserver:
    """Progress of a run, for video, image and audio alike. Override the methods that you need.

    They are called in the thread of the run, and an exception that they raise ends it.
    """

    def stage(self, text: str) -> None:
        """A stage of the run starts, such as ``reading the network``."""

    def note(self, text: str) -> None:
        """Something that the user should know, as one sentence."""

    def sampling(self, costs: Sequence[int]) -> None:
        """Sampling starts. ``costs`` has the cost of each step of the plan, in FLOPs for video and 1 for audio."""

    def step(self, update: StepUpdate) -> bool | None:
        """A step is finished. Returning False cancels the run with ``SamplingCancelled``."""

    def frames(self, frames: torch.Tensor) -> None:
        """Some frames (f, H, W, 3), float in 0..1, are decoded; clip by clip, in order."""

    def close(self) -> None:
        """Sampling has ended, or failed."""


class _StepCallback(ProgressObserver):
    """Calls a function after each step."""

    def __init__(self, function: Callable[[StepUpdate], bool | None]):
        self._function = function

    def step(self, update: StepUpdate) -> bool | None:
        return self._function(update)


# What pipelines take as ``callback``.
Callback = ProgressObserver | Callable[[StepUpdate], bool | None]


def as_observer(callback: Callback | None) -> ProgressObserver:
    """``callback`` as an observer: an observer as it is, a function that is called after each step, or None.

    Raises:
        LuminaError: it is something else.
    """
    if isinstance(callback, ProgressObserver):
        return callback
    if callback is None:
        return ProgressObserver()
    if callable(callback):
        return _StepCallback(callback)
    raise LuminaError(
        f"callback is a {type(callback).__name__}; give a ProgressObserver, or a function that takes a StepUpdate.",
        field="callback",
        kind="value",
    )


class Pipeline:
    """Base class of pipelines: device, dtype, and the networks in memory.

    Args:
        device: auto, cpu, cuda, cuda:1, mps, or a ``torch.device``.
        dtype: auto (bf16 on CUDA, fp32 elsewhere), fp32, bf16, fp16, or a ``torch.dtype``.
        keep: which networks stay in memory. ``one``: only the one in use; each is released after its stage. ``all``:
            every network stays loaded from its first use until ``unload``. Either way, one call reads each file once.

    Raises:
        LuminaError: this machine does not have the device, or a name is unknown.
    """

    def __init__(self, device: str | torch.device = "auto", dtype: str | torch.dtype = "auto", keep: Keep = "one"):
        if keep not in get_args(Keep):
            raise LuminaError(f"keep is {keep!r}; write 'one' or 'all'.", field="keep", kind="value")
        self.device = pick_device(str(device))
        self.dtype = pick_dtype(dtype_name(dtype), self.device)
        self.keep: Keep = keep
        self._networks: dict[str, Any] = {}

    @contextmanager
    def network(self, name: str, load: Callable[[], Network]) -> Iterator[Network]:
        """The network ``name`` within a ``with`` block, loaded by ``load()`` unless it is in memory.

        With ``keep="one"`` it is released after the block; the caller must not keep a reference to it. Blocks of the
        same network can be nested: the outermost one loads and releases it.
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
        """Release these networks, or all of them. The next call reads their files again."""
        for name in names or self.loaded:
            self._networks.pop(name, None)
        release_memory(self.device)


def dtype_name(dtype: str | torch.dtype) -> str:
    """The name of a dtype, such as ``bf16``; a name is returned as it is.

    Raises:
        LuminaError: no network runs in that dtype.
    """
    if isinstance(dtype, str):
        return dtype
    for name, value in DTYPES.items():
        if value == dtype:
            return name
    raise LuminaError(
        f"dtype is {dtype}; use one of {', '.join(map(str, DTYPES.values()))}.", field="dtype", kind="value"
    )


def check_packages(*names: str) -> None:
    """Raise LuminaError if one of these packages is not installed."""
    for name in names:
        if find_spec(name) is None:
            raise LuminaError(
                f"The package {name} is not installed; run: pip install {name}.", field=name, kind="missing"
            )


def check_seed(seed: object) -> int:
    """Return ``seed``, a whole number from 0 to 2**64 - 1. Raises LuminaError for anything else."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise LuminaError(f"seed is {seed}; write a whole number from 0 to {MAX_SEED}.", field="seed", kind="value")
    return seed


def check_count(name: str, value: object) -> int:
    """Return ``value``, a whole number of at least 1. Raises LuminaError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise LuminaError(f"{name} is {value!r}; write a whole number of at least 1.", field=name, kind="value")
    return value


def clip_seeds(
    seed: int | Sequence[int],
    prompts: int,
    per_prompt: int = 1,
    name: str = "videos_per_prompt",
    states: int = 1,
) -> tuple[int, ...]:
    """One seed for each result, prompt by prompt.

    Args:
        seed: a number s gives the results of each prompt the seeds s, s + 1, ...; a list has one seed for each result.
            With one prompt and ``per_prompt`` 1, the length of the list sets the number of results.
        prompts: how many prompts there are.
        per_prompt: results of each prompt, from 1.
        name: argument of the pipeline that gives ``per_prompt``.
        states: number of given latents. With one prompt, ``per_prompt`` 1 and a number as seed, it sets the number of
            results.

    Raises:
        LuminaError: ``per_prompt`` or a seed is out of range, or the list has another length.
    """
    check_count(name, per_prompt)
    if isinstance(seed, int) and prompts == per_prompt == 1:
        per_prompt = max(1, states)
    if isinstance(seed, int):
        first = check_seed(seed)
        return tuple(check_seed(first + i) for i in range(per_prompt)) * prompts
    seeds = tuple(check_seed(each) for each in seed)
    total = len(seeds) if prompts == per_prompt == 1 else prompts * per_prompt
    if not seeds or len(seeds) != total:
        raise LuminaError(
            f"There are {len(seeds)} seeds for {total} results; give one for each.", field="seed", kind="value"
        )
    return seeds


def draw_noise(
    shape: Sequence[int],
    seeds: Sequence[int],
    generator: torch.Generator | Sequence[torch.Generator] | None,
    device: torch.device,
    dtype: torch.dtype,
    latents: torch.Tensor | None = None,
) -> torch.Tensor:
    """Noise (B, *shape) for B = ``len(seeds)`` results, drawn from seeds or generators, or given as ``latents``.

    Args:
        shape: of one result, without the batch axis.
        seeds: one for each result; see ``seeded_noise``. Ignored if there is a generator.
        generator: one for all results, which draws them in order, or one for each result. It draws on its own device,
            in float32 on the CPU and in ``dtype`` on a GPU, as ``seeded_noise`` does.
        device, dtype: of the result.
        latents: noise (1 or B, *shape) to use in place of drawn noise.

    Raises:
        LuminaError: there is not one generator for each result, or ``latents`` has another shape.
    """
    if latents is not None:
        wanted, found = (len(seeds), *shape), tuple(latents.shape)
        if found[:1] not in ((1,), wanted[:1]) or found[1:] != wanted[1:]:
            raise LuminaError(f"The latents have shape {found}; expected {wanted}.", field="latents", kind="value")
        return latents.expand(wanted).to(device, dtype)
    if generator is None:
        return torch.cat([seeded_noise((1, *shape), seed, device, dtype) for seed in seeds])
    generators = [generator] * len(seeds) if isinstance(generator, torch.Generator) else list(generator)
    if len(generators) != len(seeds):
        raise LuminaError(
            f"There are {len(generators)} generators for {len(seeds)} results; give one, or one for each.",
            field="generator",
            kind="value",
        )
    return torch.cat([_draw(shape, each, dtype) for each in generators]).to(device, dtype)


def _draw(shape: Sequence[int], generator: torch.Generator, dtype: torch.dtype) -> torch.Tensor:
    draw_dtype = torch.float32 if generator.device.type == "cpu" else dtype
    return torch.randn((1, *shape), generator=generator, device=generator.device, dtype=draw_dtype)


def check_output_type(output_type: str, *known: str) -> str:
    """Return ``output_type``, one of ``known``. Raises LuminaError for anything else."""
    if output_type not in known:
        raise LuminaError(
            f"output_type is '{output_type}'; use one of {', '.join(known)}.", field="output_type", kind="value"
        )
    return output_type
