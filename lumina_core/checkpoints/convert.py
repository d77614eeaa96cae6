"""Converts a Lumina-Video checkpoint to one bf16 .safetensors file with the settings in its header.

The released ``consolidated.00-of-01.pth`` becomes half as large, loads without unpickling, and gets a name that says
what it is. Tensors are read, rounded and written one after another, so memory does not grow with the file.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from ..errors import LuminaError
from ..runtime.atomic import atomic_write
from ..runtime.tensor_files import check_finite, each_tensor
from .video import Checkpoint, clean_key, video_metadata

# Names of the dtypes in a .safetensors header.
DTYPE_NAMES = {torch.bfloat16: "BF16", torch.float16: "F16", torch.float32: "F32"}
_FORMAT_KEY, _METADATA_KEY = "format", "__metadata__"
# Part of a folder's name that names the model, such as that of the released repository.
_MODEL = re.compile(r"lumina[-_ ]video[-_ ]*([\w.-]*)", re.IGNORECASE)
_DTYPE_WORDS = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}
# Space in bytes that is left free on the disk.
_RESERVE = 1 << 20


def convert_checkpoint(
    source: str | Path,
    out: str | Path | None = None,
    *,
    dtype: torch.dtype = torch.bfloat16,
    overwrite: bool = False,
    callback: Callable[[int], None] = lambda count: None,
) -> Path:
    """Write a checkpoint as one .safetensors file, and return its path.

    The file is complete or does not exist: it gets its name after the last tensor. A .pth in torch's format before
    version 1.6 cannot be read in parts and is held in memory as a whole.

    Args:
        source: a folder in the released layout, or a .pth or .safetensors file; a model_args.pth beside it is read.
        out: file to write, or an existing folder; None is beside the source. The name in a folder says Lumina-Video,
            see ``converted_name``.
        dtype: of the written values, a key of ``DTYPE_NAMES``.
        overwrite: replace ``out`` if it exists.
        callback: called with the number of bytes after each written tensor; see ``converted_size`` for the sum.

    Raises:
        LuminaError: the source is not a Lumina-Video checkpoint or is damaged, ``out`` exists or cannot be written, or
            the disk is full.
    """
    checkpoint = Checkpoint.open(source)
    metadata = video_metadata(checkpoint.config) | {_FORMAT_KEY: "pt"}
    target = _target(checkpoint.path, out, dtype, overwrite)
    header = _header(checkpoint, metadata, dtype)
    _check_space(target, len(header) + converted_size(checkpoint, dtype))
    name = checkpoint.path.name
    with atomic_write(target) as part:
        with part.open("wb") as file:
            file.write(header)
            for key, value in _values(checkpoint):
                check_finite(name, {key: value})
                stored = value.to(dtype)
                check_finite(f"{name} in {_DTYPE_WORDS[dtype]}", {key: stored})
                file.write(stored.contiguous().reshape(-1).view(torch.uint8).numpy().data)
                callback(stored.nbytes)
        if target.exists() and not overwrite:
            raise _exists(target)
    return target


def converted_size(checkpoint: Checkpoint, dtype: torch.dtype = torch.bfloat16) -> int:
    """Bytes of the tensors in the converted file."""
    return sum(value.numel() for value in checkpoint.tensors.values()) * dtype.itemsize


def converted_name(source: Path, dtype: torch.dtype = torch.bfloat16) -> str:
    """The name of the converted file, such as ``lumina_video_f24R960_bf16.safetensors``.

    Args:
        source: the weights file. Its folder's name, or its own, may say which model it is.
        dtype: of the written values.
    """
    found = _MODEL.search(source.parent.absolute().name) or _MODEL.search(source.stem)
    version = found[1].strip("-_.") if found else ""
    words = [word for word in ("lumina_video", version, _DTYPE_WORDS[dtype]) if word]
    return "_".join(words) + ".safetensors"


def _target(source: Path, out: str | Path | None, dtype: torch.dtype, overwrite: bool) -> Path:
    """The file to write, checked. Raises LuminaError."""
    target = source.parent if out is None else Path(out)
    if target.is_dir():
        target = target / converted_name(source, dtype)
    if target.suffix != ".safetensors":
        raise LuminaError(
            f"--out {target} has the suffix {target.suffix!r}; write a name ending in .safetensors, or a folder that "
            "exists.",
            field="out",
            kind="value",
        )
    if not target.parent.is_dir():
        raise LuminaError(
            f"The folder {target.parent} of --out does not exist; create it or choose another.",
            field="out",
            kind="missing",
        )
    if target.exists() and target.samefile(source):
        raise LuminaError(
            f"--out {target} is the checkpoint itself; choose another name for the converted file.",
            field="out",
            kind="value",
        )
    if target.exists() and not overwrite:
        raise _exists(target)
    return target


def _exists(target: Path) -> LuminaError:
    return LuminaError(
        f"{target} exists and was not changed; choose another --out, or add --overwrite to replace it.",
        field="out",
        kind="value",
    )


def _check_space(target: Path, size: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if free < size + _RESERVE:
        raise LuminaError(
            f"The converted file needs {size / 1e9:.1f} GB and {target.parent} has {free / 1e9:.1f} GB left; free "
            "some space or choose another --out.",
            field="out",
            kind="resource",
        )


def _header(checkpoint: Checkpoint, metadata: dict[str, str], dtype: torch.dtype) -> bytes:
    """The first bytes of the file: length and JSON header, padded so that the tensors are aligned."""
    entries: dict[str, object] = {_METADATA_KEY: metadata}
    start = 0
    for key, value in checkpoint.tensors.items():
        end = start + value.numel() * dtype.itemsize
        entries[key] = {"dtype": DTYPE_NAMES[dtype], "shape": list(value.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _values(checkpoint: Checkpoint) -> Iterator[tuple[str, torch.Tensor]]:
    """Each tensor by its clean name, in the order of ``checkpoint.tensors``. Raises LuminaError."""
    expected = [(key, value.shape) for key, value in checkpoint.tensors.items()]
    for position, (key, value) in enumerate(each_tensor(checkpoint.path)):
        if (clean_key(key), value.shape) != expected[position]:
            raise LuminaError(
                f"{checkpoint.path.name} has changed while it was converted; convert it again.",
                field="checkpoint",
                kind="file",
            )
        yield clean_key(key), value
