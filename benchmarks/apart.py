"""Calls in a process of their own, so that what one code allocates and frees does not change how the other's runs.

The C library learns from the blocks that a process frees which sizes to keep, so two codes in one process time each
other's habits, too; nobody who makes a video runs both.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Hashable, Mapping
from multiprocessing.connection import Connection

import torch

from .load import others_clock

Calls = Mapping[Hashable, Callable[[], torch.Tensor]]


class Apart:
    """The calls that ``build(*args)`` makes in a new process, which waits idle between them.

    ``build`` is a function of a module, and what it is given can be pickled. Gradients are off there.
    """

    def __init__(self, build: Callable[..., Calls], *args: object):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        context.Process(target=_serve, args=(theirs, build, args), daemon=True).start()
        theirs.close()
        self.busy = 0.0
        """Its CPU seconds so far."""
        self._answer()

    def __call__(self, key: Hashable) -> None:
        """Run one call to its end."""
        self._ask(key, False)

    def output(self, key: Hashable) -> torch.Tensor:
        """What one call gives, in float32."""
        return torch.from_numpy(self._ask(key, True))

    def _ask(self, key: Hashable, wanted: bool):
        self._pipe.send((key, wanted))
        return self._answer()

    def _answer(self):
        try:
            self.busy, output = self._pipe.recv()
        except EOFError:
            raise SystemExit("A timed process ended too early; what it said stands above.") from None
        return output


def others_beside(*sides: Apart) -> float | None:
    """``others_clock`` without what these processes did."""
    seconds = others_clock()
    return None if seconds is None else seconds - sum(side.busy for side in sides)


@torch.no_grad()
def _serve(pipe: Connection, build: Callable[..., Calls], args: tuple) -> None:
    calls = build(*args)
    pipe.send((time.process_time(), None))
    while True:
        try:
            key, wanted = pipe.recv()
        except EOFError:  # whoever asked has ended
            return
        result = calls[key]()
        if result.is_cuda:
            torch.cuda.synchronize()
        pipe.send((time.process_time(), result.float().cpu().numpy() if wanted else None))
