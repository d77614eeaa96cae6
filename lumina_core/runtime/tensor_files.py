"""Reads weight files, and checks that weights fit a network."""

from __future__ import annotations

import json
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from ..errors import LuminaError

# Tensors by parameter name.
Weights = dict[str, torch.Tensor]
# Largest header in bytes that ``key_names`` reads; real ones have at most a few MB.
_MAX_HEADER = 1 << 25


def read_safetensors(file: Path, header_only: bool = False) -> tuple[Weights, dict[str, str]]:
    """Tensors by name, and the metadata.

    Args:
        file: a .safetensors file.
        header_only: read shapes alone; the tensors are then on the meta device, in float32.

    Raises:
        LuminaError: the file cannot be read.
    """
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


def read_metadata(file: Path) -> dict[str, str]:
    """The metadata of a .safetensors file, of which only the header is read. Raises LuminaError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as reader:
            return reader.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise unreadable(file.name, error) from None


def read_pth(file: Path, header_only: bool = False, mapped: bool = False) -> Weights:
    """Tensors by name from a .pth file, on the CPU. Code in the file is not run.

    Args:
        file: a .pth file.
        header_only: read shapes alone; the tensors are then on the meta device. A file of torch before version 1.6 is
            read whole nevertheless.
        mapped: read the values only when they are used, except in such an old file.

    Raises:
        LuminaError: the file cannot be read, or holds something other than tensors.
    """
    try:
        # A mapped file is not read until its values are used.
        mapped = (header_only or mapped) and zipfile.is_zipfile(file)
        weights = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # torch raises many types on a damaged file
        raise unreadable(file.name, error) from None
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise LuminaError(
            f"{file.name} is not a dictionary of tensors by name; use the released file.", field="file", kind="file"
        )
    return {name: value.to("meta") for name, value in weights.items()} if header_only else weights


def each_tensor(file: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and value of each tensor of a .safetensors or .pth file, read one after another, on the CPU.

    A .pth of torch before version 1.6 is read whole nevertheless. Code in the file is not run.

    Raises:
        LuminaError: the file cannot be read, or holds something other than tensors.
    """
    if file.suffix != ".safetensors":
        yield from read_pth(file, mapped=True).items()
        return
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as reader:
            for name in reader.keys():  # noqa: SIM118, it is no mapping
                yield name, reader.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise unreadable(file.name, error) from None


def key_names(file: Path) -> frozenset[str] | None:
    """Names of the tensors in a file, from its header alone; None if it has none that can be read.

    Cheap enough for every file of a folder. The strings of a .pth are those of its pickle, which is not run.
    """
    try:
        if file.suffix == ".safetensors":
            with file.open("rb") as opened:
                length = int.from_bytes(opened.read(8), "little")
                if not 0 < length <= _MAX_HEADER:
                    return None
                return frozenset(json.loads(opened.read(length))) - {"__metadata__"}
        with zipfile.ZipFile(file) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            if archive.getinfo(name).file_size > _MAX_HEADER:
                return None
            opcodes = pickletools.genops(archive.read(name))
            return frozenset(value for _, value, _ in opcodes if isinstance(value, str))
    except (OSError, ValueError, TypeError, StopIteration, zipfile.BadZipFile, RecursionError):
        return None


def unreadable(name: str, error: Exception) -> LuminaError:
    """The error for a file that could not be read.

    Args:
        name: of the file.
        error: what was raised while reading it.
    """
    if type(error).__name__ == "UnpicklingError":
        # torch's own text is a page of advice on how to run the code in the file.
        return LuminaError(
            f"{name} contains pickled objects other than tensors and was not loaded; download the .safetensors file.",
            field="file",
            kind="file",
        )
    reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
    return LuminaError(
        f"{name} cannot be read ({reason}); it is truncated or not a weights file, so download it again.",
        field="file",
        kind="file",
    )


def check_unchanged(name: str, header: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]) -> None:
    """Raise LuminaError if the file ``name`` has other tensors than those of the header that was read before."""
    before, now = ({key: value.shape for key, value in tensors.items()} for tensors in (header, weights))
    if before != now:
        raise LuminaError(
            f"{name} has changed since it was opened; open it again, such as with a new pipeline.",
            field="checkpoint",
            kind="file",
        )


def check_fit(name: str, weights: Mapping[str, torch.Tensor], network: torch.nn.Module, what: str) -> None:
    """Check that keys and shapes of ``weights`` are exactly those of ``network``.

    Args:
        name: of the file.
        weights: tensors by name, or their shapes on the meta device.
        network: may be on the meta device.
        what: describes the network in the message.

    Raises:
        LuminaError: keys are missing or unexpected, or have another shape; the message names the first ones.
    """
    expected = {key: value.shape for key, value in network.state_dict().items()}
    faults = {
        "missing": sorted(expected.keys() - weights.keys()),
        "unexpected": sorted(weights.keys() - expected.keys()),
        "of a different shape": [k for k in expected if k in weights and weights[k].shape != expected[k]],
    }
    found = [f"{len(keys)} {fault} ({_some(keys)})" for fault, keys in faults.items() if keys]
    if found:
        raise LuminaError(
            f"{name} does not fit {what}: keys {', '.join(found)}; use a complete, unmodified file.",
            field="file",
            kind="file",
        )


def check_finite(name: str, weights: Mapping[str, torch.Tensor]) -> None:
    """Raise LuminaError if a tensor of file ``name`` holds NaN or infinite values."""
    for key, value in weights.items():
        # The sum is NaN or infinite if any element is, and needs no mask of the tensor's size. The 8-bit floats of
        # quantized files cannot be summed.
        summable = value.is_floating_point() and value.element_size() > 1
        if summable and not bool(torch.isfinite(value.sum(dtype=torch.float64))):
            raise LuminaError(
                f"{name} holds NaN or infinite values in {key}; download it again.", field="file", kind="numerics"
            )


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
