"""Measurements on one device: matrix products, attention, and calls of the network."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from lumina_core.cost.flops import TYPICAL_TEXT, forward_cost
from lumina_core.network.attention import KERNELS, choose_attention
from lumina_core.network.compilation import CompiledNetwork, compile_blocks
from lumina_core.network.config import VideoConfig
from lumina_core.network.video import MultiScaleNextDiT
from lumina_core.shapes.latents import LatentSize
from lumina_core.shapes.schedules import PatchSize

from .budget import Budget

ROUNDS = 3
COMPILE_SECONDS = 90.0
"""What compiling one kind of batch is taken to need, before any of it is known."""
SLOW_START = 4.0
"""A first guess of a call's seconds is its arithmetic at this part of the matmul peak."""


@dataclass(frozen=True)
class Shape:
    """A preset's clip."""

    preset: str
    size: LatentSize


class Bench:
    """A network with random weights on a device."""

    def __init__(self, config: VideoConfig, device: torch.device, dtype: torch.dtype):
        self.config, self.device, self.dtype = config, device, dtype
        self.cuda = device.type == "cuda"
        self.name = torch.cuda.get_device_name(device) if self.cuda else "cpu"
        self.generator = torch.Generator(device).manual_seed(0)
        self.network = self._network()
        self.weight_bytes = sum(p.numel() * p.element_size() for p in self.network.parameters())
        self.compiled: CompiledNetwork | nn.Module | None = None
        self.peak = 0.0
        self.rate = 0.0
        """FLOP/s of the last call, which foretells the next."""

    def _network(self) -> MultiScaleNextDiT:
        network = MultiScaleNextDiT(self.config, device=self.device, dtype=self.dtype).eval().requires_grad_(False)
        for parameter in network.parameters():
            # Norms keep their scale of 1; anything else is as small as trained weights are.
            if parameter.ndim != 1:
                parameter.normal_(0, parameter.shape[-1] ** -0.5, generator=self.generator)
        return network

    def matmul_peak(self) -> dict:
        """The best rate of square matrix products in the run's dtype, FLOP/s."""
        rates = {}
        for side in (4096, 8192, 16384) if self.cuda else (128, 256):
            a, b = (torch.randn(side, side, device=self.device, dtype=self.dtype) for _ in range(2))
            seconds = min(self._seconds(lambda a=a, b=b: a @ b, rounds=10))
            rates[side] = 2 * side**3 / seconds
        self.peak = max(rates.values())
        return {"flops": self.peak, "sides": rates}

    def attention(self, clip: Shape) -> dict:
        """Rate of every kernel that runs at the finest patch size, the one that the network chooses, and the best."""
        block, tokens = self.config.block, clip.size.tokens(self.config.patches[0])
        shape = ((block.heads, tokens), (block.kv_heads, tokens), (block.kv_heads, tokens))
        q, k, v = (self._random(1, length, heads, block.head_dim).transpose(1, 2) for heads, length in shape)
        rates, faults = {}, {}
        for name, kernel in KERNELS.items():
            try:
                seconds = statistics.median(self._seconds(lambda kernel=kernel: kernel(q, k, v, None)))
                rates[name] = 4 * tokens**2 * self.config.dim / seconds
            except Exception as error:  # not installed, or not for this device: any error of its own
                faults[name] = str(error).splitlines()[0]
        chosen = choose_attention(self.device, self.dtype, block.head_dim)
        return {"tokens": tokens, "flops": rates, "faults": faults, "chosen": chosen, "best": max(rates, key=rates.get)}

    def calls(self, clip: Shape, budget: Budget, kind: str) -> list[dict]:
        """A row for each patch size, coarse first, and for one item and two; what does not fit in is left out."""
        network = self.network if kind == "eager" else self.compiled
        rows = []
        for patch in reversed(self.config.patches):
            for batch in (1, 2):
                flops = self._flops(clip, patch, batch)
                what = f"{kind} {patch}, batch {batch}, {clip.preset}"
                if budget.allows(what, self._foretold(flops) * (ROUNDS + 1)):
                    rows.append({"preset": clip.preset, "patch": str(patch), "batch": batch, "flops": flops,
                                 **self._call(network, clip, patch, batch)})  # fmt: skip
                    self.rate = flops / rows[-1]["seconds"]
        return rows

    def compile(self, clip: Shape, budget: Budget, backend: str) -> str | None:
        """Compile for one item and for two; None, or why there is nothing compiled."""
        if not budget.allows("compiling", 2 * COMPILE_SECONDS if self.cuda else 0):
            return "no time was left to compile"
        said: list[str] = []
        network = compile_blocks(self.network, self.device, backend=backend, report=said.append)
        for batch in (1, 2):
            self._make_call(network, clip, self.config.patches[-1], batch)()
        if said:
            return said[0]
        self.compiled = network
        return None

    def streamed(self, clip: Shape, budget: Budget) -> dict | None:
        """Peak bytes of a guided call at the finest patch size whose blocks come from RAM one by one."""
        patch = self.config.patches[0]
        if not budget.allows(f"blocks from RAM, {clip.preset}", self._foretold(self._flops(clip, patch, 2)) + 10):
            return None
        # The text's keys and values are made while the blocks are still there.
        self._make_call(self.network, clip, self.config.patches[-1], 2, keep := {})()
        call = self._make_call(self.network, clip, patch, 2, keep)
        with self._from_ram():
            self._forget_peak()
            seconds = min(self._seconds(call, rounds=1, warm=False))
            return {"preset": clip.preset, "seconds": seconds, "peak_bytes": self._peak_bytes()}

    @contextmanager
    def _from_ram(self) -> Iterator[None]:
        """Blocks lie in RAM and come to the device for their own call."""
        layers = self.network.layers.to("cpu")
        hooks = [layer.register_forward_pre_hook(lambda layer, _: layer.to(self.device) and None) for layer in layers]
        hooks += [layer.register_forward_hook(lambda layer, *_: layer.to("cpu") and None) for layer in layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            layers.to(self.device)

    def _call(self, network, clip: Shape, patch: PatchSize, batch: int) -> dict:
        call = self._make_call(network, clip, patch, batch)
        call()
        self._forget_peak()
        seconds = self._seconds(call, warm=False)
        return {"seconds": statistics.median(seconds), "spread": max(seconds) / min(seconds) - 1,
                "peak_bytes": self._peak_bytes()}  # fmt: skip

    def _make_call(
        self, network, clip: Shape, patch: PatchSize, batch: int, kept: dict | None = None
    ) -> Callable[[], torch.Tensor]:
        """A call as the sampler makes it: two items are the prompt and a shorter negative prompt."""
        kept = {} if kept is None else kept
        if "text" not in kept:
            lengths = (TYPICAL_TEXT.positive, TYPICAL_TEXT.negative)[:batch]
            mask = torch.arange(max(lengths), device=self.device) < torch.tensor(lengths, device=self.device)[:, None]
            kept["text"] = network.cache_text(self._random(batch, max(lengths), self.config.text_dim), mask)
        x = self._random(batch, self.config.channels, *clip.size.shape(self.config.channels)[1:])
        t = torch.full((batch,), 0.2, device=self.device, dtype=self.dtype)
        motion = torch.full((batch,), 6.0, device=self.device, dtype=self.dtype)
        return lambda: network(x, t, kept["text"], None, motion, patch)

    def _flops(self, clip: Shape, patch: PatchSize, batch: int) -> int:
        lengths = (TYPICAL_TEXT.positive, TYPICAL_TEXT.negative)[:batch]
        return sum(forward_cost(self.config, clip.size, patch, length).total for length in lengths)

    def _foretold(self, flops: int) -> float:
        return flops / (self.rate or self.peak / SLOW_START)

    def _random(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=self.device, dtype=self.dtype, generator=self.generator)

    def _seconds(self, call: Callable[[], object], rounds: int = ROUNDS, warm: bool = True) -> list[float]:
        if warm:
            call()
        found = []
        for _ in range(rounds):
            self._settle()
            start = time.perf_counter()
            call()
            self._settle()
            found.append(time.perf_counter() - start)
        return found

    def _settle(self) -> None:
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def _forget_peak(self) -> None:
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def _peak_bytes(self) -> int | None:
        return torch.cuda.max_memory_allocated(self.device) if self.cuda else None
