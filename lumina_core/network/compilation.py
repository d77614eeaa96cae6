"""Compiles the blocks of a network with torch.compile, and falls back to eager where that is not possible or fails.

All blocks are alike, and a compiled block takes any number of tokens. So all blocks and all patch sizes share their
graphs: one for batch size 1 and one for larger batches.
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
from typing import Any, cast

import torch
from torch import nn

from .attention import Attention

logger = logging.getLogger(__name__)

BACKEND = "inductor"
# Lowest compute capability that Triton supports.
OLDEST_GPU = (7, 0)


def missing_requirement(device: torch.device) -> str | None:
    """What torch.compile needs for ``device`` and this machine lacks, as a noun phrase; None if nothing is known."""
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
    """Compile the ``layers`` of a network at their first call.

    Args:
        network: with ``layers``, such as ``MultiScaleNextDiT``; its parameters and their names do not change.
        device: of the network.
        backend: of torch.compile.
        report: called with one sentence if the blocks run eager after all.

    Returns:
        The compiled network, or ``network`` if this machine cannot compile.
    """
    if backend == BACKEND and (missing := missing_requirement(device)):
        report(eager_message(missing))
        return network
    for layer in cast(nn.ModuleList, network.layers):
        layer.compile(backend=backend, dynamic=True)
    return CompiledNetwork(network, EagerAfterFailure(report))


def eager_message(missing: str) -> str:
    """The message for a machine that lacks ``missing``, see ``missing_requirement``."""
    return f"The blocks run eager: torch.compile lacks {missing}."


class EagerAfterFailure:
    """Calls functions with compiled parts; when compiling fails, it reports that once and runs eager from then on.

    Args:
        report: called with one sentence when compiling fails.
        failed: run eager from the start.
    """

    def __init__(self, report: Callable[[str], object] = logger.warning, failed: bool = False):
        self.report, self.failed = report, failed

    def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """``function(*args, **kwargs)``."""
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
    """A network whose blocks are compiled; calls and attributes are the network's own.

    Args:
        network: with compiled ``layers``.
        guard: runs the calls.
    """

    def __init__(self, network: nn.Module, guard: EagerAfterFailure):
        self.network, self.guard = network, guard

    def __call__(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The network's forward pass."""
        # Outside of inference mode, a graph depends on the base of each input that is a view, so there would be many.
        with torch.inference_mode():
            out = self.guard(self.network, *args, **kwargs)
        return out.clone()

    def with_attention(self, attention: Attention) -> CompiledNetwork:
        """The network with another attention, run eager, because it replaces an attention that has failed."""
        network = cast(Any, self.network).with_attention(attention)
        return CompiledNetwork(network, EagerAfterFailure(failed=True))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)


def is_compile_failure(error: BaseException) -> bool:
    """Whether an error was raised by the compiler and not by the compiled code."""
    from torch._dynamo.exc import TorchDynamoException

    return isinstance(error, TorchDynamoException)


def _missing_for_cuda(device: torch.device) -> str | None:
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST_GPU:
        return "a GPU of compute capability {}.{} or newer; this one has {}.{}".format(*OLDEST_GPU, *capability)
    if find_spec("triton") is None:
        return "the package triton (on Windows triton-windows)"
    # Triton compiles its launcher with a C compiler, which its Windows package includes.
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
    """Type and first line of the original error, without the text that torch adds."""
    error = getattr(error, "inner_exception", error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
