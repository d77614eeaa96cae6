"""The devices on which the host computes and keeps the outputs of nodes."""

from __future__ import annotations

import comfy.model_management as management
import torch


def work_device() -> torch.device:
    """The device on which the host samples."""
    return management.get_torch_device()


def result_device() -> torch.device:
    """The device on which the host keeps tensors that nodes output."""
    return management.intermediate_device()


def to_result_device(value: torch.Tensor) -> torch.Tensor:
    """``value`` on the `result_device`."""
    return value.to(result_device())
