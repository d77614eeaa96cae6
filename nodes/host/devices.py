"""Where the host computes, and where it keeps what nodes hand on."""

from __future__ import annotations

import comfy.model_management as management
import torch


def work_device() -> torch.device:
    """The device that the host samples on."""
    return management.get_torch_device()


def result_device() -> torch.device:
    """The device of tensors that nodes hand on."""
    return management.intermediate_device()


def to_result_device(value: torch.Tensor) -> torch.Tensor:
    """The tensor where the host keeps what nodes hand on."""
    return value.to(result_device())
