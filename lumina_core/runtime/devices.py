"""Names of devices and number formats, as a user writes them."""

from __future__ import annotations

import gc
import logging
from functools import lru_cache

import torch

from ..errors import LuminaError

logger = logging.getLogger(__name__)

AUTO = "auto"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BF16_CAPABILITY = (8, 0)
"""First compute capability with units for bf16; older cards emulate it, slower than fp32."""


def pick_device(name: str) -> torch.device:
    """``auto`` (the first of CUDA, MPS, CPU that is there), ``cpu``, ``mps``, ``cuda`` or ``cuda:1``.

    Raises LuminaError for another name, and for a device that this machine or this torch lacks.
    """
    if name == AUTO:
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (":" in name and not (kind == "cuda" and index.isdecimal())):
        raise LuminaError(f"device is '{name}'; write auto, cpu, cuda, cuda:1 or mps.")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise LuminaError("device is 'mps', which this machine or this torch does not have; use cpu.")
    if kind == "cuda":
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= found:
            raise LuminaError(
                f"device is '{name}', and torch finds {found or 'no'} CUDA GPU{'s' * (found > 1)}; "
                "use cpu, or install a torch with CUDA and the GPU's driver."
            )
    return torch.device(name)


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """``fp32``, ``bf16``, ``fp16``, or ``auto``: bf16 on CUDA (the official format), fp32 elsewhere.

    A card without bf16 gets fp32, too, and not fp16, whose range a network trained in bf16 may leave; the reason is
    logged, as is that of a bf16 asked for on such a device. Raises LuminaError for another name.
    """
    if name != AUTO and name not in DTYPES:
        raise LuminaError(f"dtype is '{name}'; write auto, {', '.join(DTYPES)}.")
    lacking = why_no_bf16(device)
    if name == AUTO:
        if lacking:
            _say_once(f"fp32 is used, as {lacking}; fp16 takes half the memory and may overflow.")
        return torch.bfloat16 if device.type == "cuda" and not lacking else torch.float32
    if name == "bf16" and lacking:
        _say_once(f"bf16 may be slow or fail, as {lacking}; fp32 is safe.")
    return DTYPES[name]


def why_no_bf16(device: torch.device) -> str | None:
    """Why a device is no place for bf16, as a part of a sentence; None where it is one."""
    if device.type == "mps":
        return "MPS has bf16 on some systems only"
    if device.type == "cuda" and (capability := cuda_capability(device)) and capability < BF16_CAPABILITY:
        return "compute capability {}.{} has no bf16, which begins at {}.{}".format(*capability, *BF16_CAPABILITY)
    return None


def cuda_capability(device: torch.device) -> tuple[int, int] | None:
    """Compute capability of an NVIDIA GPU; None for any other device."""
    if device.type != "cuda" or torch.version.hip or not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_capability(device)


@lru_cache
def _say_once(sentence: str) -> None:
    logger.warning(sentence)


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """``dtype``, but bf16 for fp16, whose range Gemma-2 leaves."""
    return torch.bfloat16 if dtype == torch.float16 else dtype


def release_memory(device: torch.device) -> None:
    """Give back what freed tensors held on ``device``, so that the next network finds room."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
