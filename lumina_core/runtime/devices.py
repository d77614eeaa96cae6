"""Parses the names of devices and dtypes, and knows which devices support bf16."""

from __future__ import annotations

import gc
import logging
from functools import lru_cache

import torch

from ..errors import LuminaError

logger = logging.getLogger(__name__)

AUTO = "auto"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# First compute capability with bf16 units. Older GPUs emulate bf16, which is slower than fp32.
BF16_CAPABILITY = (8, 0)


def pick_device(name: str) -> torch.device:
    """The device of a name.

    Args:
        name: ``cpu``, ``mps``, ``cuda``, ``cuda:1``, or ``auto`` for the first of CUDA, MPS and CPU that is available.

    Raises:
        LuminaError: another name, or a device that this machine or this torch build does not have.
    """
    if name == AUTO:
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (":" in name and not (kind == "cuda" and index.isdecimal())):
        raise LuminaError(f"device is '{name}'; write auto, cpu, cuda, cuda:1 or mps.", field="device", kind="value")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise LuminaError(
            "device is 'mps', which this machine or this torch build does not have; use cpu.",
            field="device",
            kind="missing",
        )
    if kind == "cuda":
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= found:
            raise LuminaError(
                f"device is '{name}', and torch finds {found or 'no'} CUDA GPU{'s' * (found > 1)}; "
                "use cpu, or install a torch with CUDA and the GPU's driver.",
                field="device",
                kind="missing",
            )
    return torch.device(name)


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype of a name.

    On a GPU without bf16, ``auto`` gives fp32 and not fp16, in which a network trained in bf16 may overflow. The reason
    is logged. Choosing bf16 on such a device logs a warning.

    Args:
        name: ``fp32``, ``bf16``, ``fp16``, or ``auto`` for bf16 on CUDA (as the official code) and fp32 elsewhere.
        device: that the run uses.

    Raises:
        LuminaError: another name.
    """
    if name != AUTO and name not in DTYPES:
        raise LuminaError(f"dtype is '{name}'; write auto, {', '.join(DTYPES)}.", field="dtype", kind="value")
    lacking = bf16_unsupported_reason(device)
    if name == AUTO:
        if lacking:
            _warn_once(f"fp32 is used because {lacking}; fp16 takes half the memory but may overflow.")
        return torch.bfloat16 if device.type == "cuda" and not lacking else torch.float32
    if name == "bf16" and lacking:
        _warn_once(f"bf16 may be slow or fail because {lacking}; fp32 is safe.")
    return DTYPES[name]


def bf16_unsupported_reason(device: torch.device) -> str | None:
    """Why a device should not use bf16, as a clause for a message; None if it can."""
    if device.type == "mps":
        return "MPS has bf16 on some systems only"
    if device.type == "cuda" and (capability := cuda_capability(device)) and capability < BF16_CAPABILITY:
        return "compute capability {}.{} has no bf16, which begins at {}.{}".format(*capability, *BF16_CAPABILITY)
    return None


def cuda_capability(device: torch.device) -> tuple[int, int] | None:
    """Compute capability of an NVIDIA GPU, None for any other device."""
    if device.type != "cuda" or torch.version.hip or not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_capability(device)


@lru_cache
def _warn_once(message: str) -> None:
    logger.warning(message)


def promote_fp16(dtype: torch.dtype) -> torch.dtype:
    """``dtype``, or bf16 in place of fp16, in which the activations of Gemma-2 overflow."""
    return torch.bfloat16 if dtype == torch.float16 else dtype


def release_memory(device: torch.device) -> None:
    """Return the memory of freed tensors on ``device`` from torch's cache, so that the next network can use it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
