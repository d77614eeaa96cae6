"""Weight files: reading them, and holding them against the network that they should fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from ..errors import LuminaError

Weights = dict[str, torch.Tensor]


def read_safetensors(file: Path, header_only: bool = False) -> tuple[Weights, dict[str, str]]:
    """Tensors by name and the metadata; with ``header_only`` the tensors are on the meta device. Raises LuminaError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as reader:
            names = list(reader.keys())
            if header_only:
                shapes = {name: reader.get_slice(name).get_shape() for name in names}
                weights = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
            else:
                weights = {name: reader.get_tensor(name) for name in names}
            return weights, reader.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise unreadable(file.name, error) from None


def read_pth(file: Path) -> Weights:
    """Tensors by name from a .pth file, without running code in it. Raises LuminaError."""
    try:
        weights = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises nearly anything on a damaged file
        raise unreadable(file.name, error) from None
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise LuminaError(f"{file.name} is not a table of weights by name; use the released file.")
    return weights


def unreadable(name: str, error: Exception) -> LuminaError:
    """The sentence for a file that could not be read."""
    if type(error).__name__ == "UnpicklingError":
        # torch's own text is a page of advice on how to run the code in the file.
        return LuminaError(
            f"{name} holds more than weights, so it was not opened; fetch a fresh copy, best as .safetensors."
        )
    reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
    return LuminaError(
        f"{name} cannot be read ({reason}); it is truncated or another kind of file, so fetch a fresh copy."
    )


def check_fit(name: str, weights: Mapping[str, torch.Tensor], network: torch.nn.Module, what: str) -> None:
    """Raise LuminaError that names missing, unexpected and misshapen keys unless ``weights`` fit ``network`` exactly.

    ``name`` is the file's, ``what`` the network in words.
    """
    expected = {key: value.shape for key, value in network.state_dict().items()}
    faults = {
        "missing": sorted(expected.keys() - weights.keys()),
        "unexpected": sorted(weights.keys() - expected.keys()),
        "of another shape": [k for k in expected if k in weights and weights[k].shape != expected[k]],
    }
    told = [f"{len(keys)} {fault} ({_some(keys)})" for fault, keys in faults.items() if keys]
    if told:
        raise LuminaError(f"{name} does not fit {what}: keys {', '.join(told)}; use a whole, unmodified file.")


def check_finite(name: str, weights: Mapping[str, torch.Tensor]) -> None:
    """Raise LuminaError when a tensor holds NaN or infinity."""
    for key, value in weights.items():
        # A sum is NaN or infinite when any element is, and needs no mask of the tensor's size. One-byte floats of
        # quantised files cannot be summed.
        summable = value.is_floating_point() and value.element_size() > 1
        if summable and not bool(torch.isfinite(value.sum(dtype=torch.float64))):
            raise LuminaError(f"{name} holds NaN or infinite values in {key}; fetch a fresh copy.")


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
