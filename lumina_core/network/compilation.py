"""torch.compile for the blocks of a network: what it needs here, and eager where that is missing or fails.

The blocks of a network are alike, and a compiled block takes any number of tokens, so that all of them and all patch
sizes share their graphs: one for a single item and one for more.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from .attention import Attention

logger = logging.getLogger(__name__)

BACKEND = "inductor"
OLDEST_GPU = (7, 0)
"""Compute capability that triton's kernels need."""


def missing_piece(device: torch.device) -> str | None:
    """What torch.compile lacks for ``device`` on this machine, as a part of a sentence; None: nothing is known to."""
    if not hasattr(torch.compiler, "set_stance"):
        return f"torch {torch.__version__}, and compiling needs 2.6 or newer"
    from torch._dynamo.eval_frame import check_if_dynamo_supported

    try:
        check_if_dynamo_supported()
    except RuntimeError as error:
        return f"this Python or system ({str(error).splitlines()[0]})"
    if device.type == "cpu":
        return _missing_compiler("C++", "CXX", ("g++", "clang++"))
    if device.type == "cuda":
        return _missing_for_cuda(device)
    return f"a compiler for {device.type}; it is there for cpu and cuda"


def compile_blocks(
    network: nn.Module,
    device: torch.device,
    backend: str | Callable = BACKEND,
    report: Callable[[str], object] = logger.warning,
) -> CompiledNetwork | nn.Module:
    """The network with its ``layers`` compiled at their first call, or the network as it was where that cannot be.

    Args:
        network: ``MultiScaleNextDiT`` or another with ``layers``; its parameters and their names stay.
        backend: of ``torch.compile``.
        report: is given one sentence where blocks run eager after all.
    """
    if backend == BACKEND and (missing := missing_piece(device)):
        report(runs_eager(missing))
        return network
    for layer in network.layers:
        layer.compile(backend=backend, dynamic=True)
    return CompiledNetwork(network, EagerAfterFailure(report))


def runs_eager(missing: str) -> str:
    """The sentence for a machine that cannot compile."""
    return f"The blocks run eager: torch.compile lacks {missing}."


class EagerAfterFailure:
    """Calls what has compiled parts; the first time that compiling fails it says so, and from then on runs without."""

    def __init__(self, report: Callable[[str], object] = logger.warning, failed: bool = False):
        self.report, self.failed = report, failed

    def __call__(self, function: Callable, *args, **kwargs):
        if not self.failed:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                if not is_compile_failure(error):
                    raise
                self.failed = True
                self.report(f"The blocks run eager from here on: torch.compile failed ({_cause(error)}).")
        with torch.compiler.set_stance("force_eager"):
            return function(*args, **kwargs)


class CompiledNetwork:
    """A network whose blocks are compiled: called alike, and everything else is the network's own."""

    def __init__(self, network: nn.Module, guard: EagerAfterFailure):
        self.network, self.guard = network, guard

    def __call__(self, *args, **kwargs) -> torch.Tensor:
        # Outside of inference mode a graph depends on what its inputs are views of, and there would be many.
        with torch.inference_mode():
            out = self.guard(self.network, *args, **kwargs)
        return out.clone()

    def on_attention(self, attention: Attention) -> nn.Module:
        """The network with another attention, eager: this is for when something about it has failed."""
        return CompiledNetwork(self.network.on_attention(attention), EagerAfterFailure(failed=True))

    def __getattr__(self, name: str):
        return getattr(self.network, name)


def is_compile_failure(error: BaseException) -> bool:
    """Whether an error comes from compiling and not from what is compiled."""
    from torch._dynamo.exc import TorchDynamoException

    return isinstance(error, TorchDynamoException)


def _missing_for_cuda(device: torch.device) -> str | None:
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST_GPU:
        return "a GPU of compute capability {}.{} or newer; this one has {}.{}".format(*OLDEST_GPU, *capability)
    if find_spec("triton") is None:
        return "the package triton (on Windows triton-windows)"
    # Triton builds its launcher once; on Windows it brings a compiler for that.
    return None if sys.platform == "win32" else _missing_compiler("C", "CC", ("gcc", "clang", "cc"))


def _missing_compiler(language: str, variable: str, names: tuple[str, ...]) -> str | None:
    if sys.platform == "win32":
        names = ("cl",)
    chosen = os.environ.get(variable)
    if not any(shutil.which(name) for name in ([chosen] if chosen else names)):
        return f"a {language} compiler ({' or '.join([chosen] if chosen else names)})"
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return None if header.is_file() else f"Python's headers ({header}; on Linux the package python3-dev)"


def _cause(error: BaseException) -> str:
    """Name and first line of what went wrong, without torch's own words around it."""
    error = getattr(error, "inner_exception", error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
