"""Calls in a process of their own, so that the allocations of one code do not change how fast the other runs.

The C library adapts to the sizes of freed blocks, so two codes in one process would influence each other's time.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Hashable, Mapping
from multiprocessing.connection import Connection

import torch

from benchmarks.common.timing_rounds import others_clock

Calls = Mapping[Hashable, Callable[[], torch.Tensor]]


class SubprocessCalls:
    """The calls that ``build(*args)`` makes in a new process, which waits idle between them.

    Args:
        build: a function of a module; gives calls by key. Gradients are off there.
        args: what it is given; anything that can be pickled.
    """

    def __init__(self, build: Callable[..., Calls], *args: object):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        context.Process(target=_serve, args=(theirs, build, args), daemon=True).start()
        theirs.close()
        # Its CPU seconds so far.
        self.busy = 0.0
        self._answer()

    def __call__(self, key: Hashable) -> None:
        """Run one call and wait for it."""
        self._ask(key, False)

    def output(self, key: Hashable) -> torch.Tensor:
        """The result of one call, in float32."""
        return torch.from_numpy(self._ask(key, True))

    def _ask(self, key: Hashable, wanted: bool):
        self._pipe.send((key, wanted))
        return self._answer()

    def _answer(self):
        try:
            self.busy, output = self._pipe.recv()
        except EOFError:
            raise SystemExit("A timed process ended too early; see its error above.") from None
        return output


def others_beside(*sides: SubprocessCalls) -> float | None:
    """``others_clock`` without the CPU time of these processes; None where unknown."""
    seconds = others_clock()
    return None if seconds is None else seconds - sum(side.busy for side in sides)


@torch.no_grad()
def _serve(pipe: Connection, build: Callable[..., Calls], args: tuple) -> None:
    calls = build(*args)
    pipe.send((time.process_time(), None))
    while True:
        try:
            key, wanted = pipe.recv()
        except EOFError:  # the parent has ended
            return
        result = calls[key]()
        if result.is_cuda:
            torch.cuda.synchronize()
        pipe.send((time.process_time(), result.float().cpu().numpy() if wanted else None))
