"""Counts the bytes of live tensors while code runs; works on any device, the meta device included.

    with TensorMemory() as memory:
        model(x)
    memory.peak     # most bytes alive at once
    memory.at_peak  # what they were, largest first

A storage counts from the torch operator that makes it inside the `with` until its last tensor is gone. Not counted:
tensors from before, workspace that an operator allocates and frees within itself, and what an allocator rounds up to.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

TORCH = str(Path(torch.__file__).parent)


@dataclass(frozen=True)
class Allocation:
    """One storage: its bytes, the shape and dtype it was made with, the operator and the line that called it."""

    bytes: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    operator: str
    line: str

    def __str__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{self.bytes / 2**20:.2f} MiB {dtype}{list(self.shape)} of {self.operator} at {self.line}"


class TensorMemory(TorchDispatchMode):
    """Bytes of the storages made inside it; read ``live``, ``peak`` and ``at_peak`` at any time."""

    def __init__(self):
        super().__init__()
        self.live = self.peak = self.total = 0
        self.operators: Counter[str] = Counter()
        self.at_peak: list[Allocation] = []
        self._made: dict[int, Allocation] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = {_key(tensor) for tensor in _tensors((args, kwargs))}
        out = func(*args, **kwargs)
        self.operators[str(func.overloadpacket)] += 1
        for tensor in _tensors(out):
            key = _key(tensor)
            if key not in given and key not in self._made:
                self._add(key, tensor, str(func.overloadpacket))
        return out

    def _add(self, key: int, tensor: torch.Tensor, operator: str) -> None:
        storage = tensor.untyped_storage()
        made = Allocation(storage.nbytes(), tuple(tensor.shape), tensor.dtype, operator, _caller())
        self._made[key] = made
        weakref.finalize(storage, self._drop, key).atexit = False
        self.live += made.bytes
        self.total += made.bytes
        if self.live > self.peak:
            self.peak = self.live
            self.at_peak = sorted(self._made.values(), key=lambda one: -one.bytes)

    def _drop(self, key: int) -> None:
        self.live -= self._made.pop(key).bytes


def _tensors(tree):
    return (leaf for leaf in tree_iter(tree) if isinstance(leaf, torch.Tensor))


def _key(tensor: torch.Tensor) -> int:
    # Not data_ptr, which is 0 for every tensor on the meta device.
    return tensor.untyped_storage()._cdata


def _caller() -> str:
    """File and line of the nearest frame outside torch and this file."""
    frame = sys._getframe(1)
    while frame and (frame.f_code.co_filename == __file__ or frame.f_code.co_filename.startswith(TORCH)):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame else "torch"
