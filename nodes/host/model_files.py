"""Model files in the host's folders: list them, find them, check their kind and detect changes."""

from __future__ import annotations

from pathlib import Path

import folder_paths

from ...lumina_core.checkpoints.detect import Kind, refuse_other_kinds
from ...lumina_core.checkpoints.video import ARGS_NAME, clean_keys
from ...lumina_core.errors import LuminaError
from ...lumina_core.runtime.tensor_files import read_safetensors


def stamp(path: str | Path | None) -> str:
    """A fingerprint that changes when the file, or a file in the folder, does, so that the host loads it again.

    It is empty if ``path`` is missing. It leaves out the path, because the host writes fingerprints into the metadata
    of saved files.
    """
    if path is None or not Path(path).exists():
        return ""
    path = Path(path)
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return ",".join(f"{stat.st_mtime_ns}:{stat.st_size}" for stat in (file.stat() for file in files))


def model_files() -> list[str]:
    """Names of the files in models/diffusion_models."""
    # The settings file of a released checkpoint ends in .pth, too.
    return [name for name in folder_paths.get_filename_list("diffusion_models") if Path(name).name != ARGS_NAME]


def own_file(folder: str, name: str, field: str) -> Path:
    """Path of a file in a model folder of the host. Raises LuminaError that names the widget ``field``."""
    path = folder_paths.get_full_path(folder, name)
    if path is None:
        looked = ", ".join(folder_paths.get_folder_paths(folder)) or f"models/{folder}"
        raise LuminaError(
            f"'{name}' is not in {looked}; put the file there and reload the page, or choose another.",
            field=field,
            kind="missing",
        )
    return Path(path)


def check_kind(file: Path, wanted: Kind) -> Path:
    """Return ``file``; raises LuminaError if its header is that of another kind of model.

    A damaged or missing header is reported when the file is loaded.
    """
    if file.suffix == ".safetensors":
        try:
            weights, _ = read_safetensors(file, header_only=True)
        except LuminaError:
            return file
        refuse_other_kinds(file.name, clean_keys(weights), wanted)
    return file
