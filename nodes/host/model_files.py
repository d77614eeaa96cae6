"""Model files in the host's folders: list them, find them, check their kind and detect changes."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import folder_paths

from ...lumina_core.checkpoints.detect import Kind, refuse_other_kinds
from ...lumina_core.checkpoints.video import ARGS_NAME, clean_key
from ...lumina_core.errors import LuminaError
from ...lumina_core.runtime.tensor_files import key_names


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


def model_files(wanted: Kind, folder: str = "diffusion_models") -> list[str]:
    """Names of the files in a model folder that may be of this kind.

    Many models have files of the same name, so this looks at the names of their tensors. A file whose header cannot be
    read, such as half of a download, is listed: loading it gives the reason.
    """
    # The settings file of a released checkpoint ends in .pth, too.
    names = [name for name in folder_paths.get_filename_list(folder) if Path(name).name != ARGS_NAME]
    return [name for name in names if may_be(folder_paths.get_full_path(folder, name), wanted)]


def may_be(path: str | Path | None, wanted: Kind) -> bool:
    """Whether the file is of this kind, or its header cannot be read."""
    keys = _keys(str(path), stamp(path)) if path else None
    return keys is None or wanted.fits(keys)


@lru_cache(maxsize=1024)
def _keys(path: str, stamp: str) -> frozenset[str] | None:
    """Clean names of the tensors in a file; ``stamp`` changes with the file, so that it is read again."""
    names = key_names(Path(path))
    return None if names is None else frozenset(map(clean_key, names))


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


def check_kind(file: Path, wanted: Kind, field: str = "model_name") -> Path:
    """Return ``file``; raises LuminaError if its header is that of another kind of model.

    A damaged or missing header is reported when the file is loaded.
    """
    keys = _keys(str(file), stamp(file))
    if keys is not None:
        refuse_other_kinds(file.name, keys, wanted)
        if not wanted.fits(keys):
            raise LuminaError(
                f"{file.name} is not {wanted.name}: its tensors have other names; choose another file, or download the "
                "one that the README names and give it a name of its own.",
                field=field,
                kind="mismatch",
            )
    return file
