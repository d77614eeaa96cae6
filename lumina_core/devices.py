"""Names of devices and number formats, as a user writes them."""

from __future__ import annotations

import gc

import torch

from .errors import LuminaError

AUTO = "auto"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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

    Raises LuminaError for another name.
    """
    if name == AUTO:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in DTYPES:
        raise LuminaError(f"dtype is '{name}'; write auto, {', '.join(DTYPES)}.")
    return DTYPES[name]


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
