"""Where the audio loaders look: bundles with an audio model first, then the host's model folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import folder_paths

from ...lumina_core.checkpoints.audio import (
    AUDIO_METADATA_KEY,
    CHECKPOINT_NAME,
    CODEC_FOLDER,
    FEATURES_FOLDER,
)
from ...lumina_core.errors import LuminaError
from ...lumina_core.runtime.tensor_files import read_metadata
from .bundles import bundle_of, bundled_entries, is_bundled
from .model_files import stamp

# The entry of a list that would be empty; choosing it gives an error that says what to install.
NOTHING = "none installed"

_MODEL_ROOTS = ("diffusion_models",)
_CODEC_ROOTS = ("vae", "diffusion_models")
_FEATURES_ROOTS = ("clip_vision", "diffusion_models")
_CODEC_FILES = (".safetensors", ".ckpt")

_FIX = "use the mini audio model in lumina_core/bundles/mini of a complete copy of this pack"
_MODEL_FIX = (
    f"no weights of Lumina-V2A were released, so {_FIX}, or train a model (python -m lumina_core train) and put its "
    ".safetensors into models/diffusion_models."
)
_CODEC_FIX = f"{_FIX}, or put the folder of cvssp/audioldm, with its vae/ and vocoder/, into models/vae."
_FEATURES_FIX = (
    f"{_FIX}, or put a folder with clip/ (apple/DFN5B-CLIP-ViT-H-14-378) and sync/ (a released Synchformer) into "
    "models/clip_vision."
)


def audio_models() -> list[str]:
    """List entries of audio models: bundles that have one, and files whose header has an audio model's config."""
    names = folder_paths.get_filename_list(_MODEL_ROOTS[0])
    own = [name for name in names if is_audio_model(folder_paths.get_full_path(_MODEL_ROOTS[0], name))]
    return _entries(own)


def codecs() -> list[str]:
    """List entries of audio codecs: bundles, folders with vae/ and vocoder/, and single files named after AudioLDM."""
    names = folder_paths.get_filename_list("vae")
    files = [name for name in names if "audioldm" in name.lower() and name.lower().endswith(_CODEC_FILES)]
    return _entries(_folders(_CODEC_ROOTS, ("vae", "vocoder")) + [n for n in files if "/" not in n.replace("\\", "/")])


def features() -> list[str]:
    """List entries of feature encoders: bundles, and folders with clip/ and sync/."""
    return _entries(_folders(_FEATURES_ROOTS, ("clip", "sync")))


def find_audio_model(name: str) -> Path:
    """The file of an entry of `audio_models`. Raises LuminaError (kind missing)."""
    return _find(name, _MODEL_ROOTS, CHECKPOINT_NAME, "audio model", _MODEL_FIX, "model_name")


def find_codec(name: str) -> Path:
    """The folder or file of an entry of `codecs`. Raises LuminaError (kind missing)."""
    return _find(name, _CODEC_ROOTS, CODEC_FOLDER, "audio codec", _CODEC_FIX, "codec_name")


def find_features(name: str) -> Path:
    """The folder of an entry of `features`. Raises LuminaError (kind missing)."""
    return _find(name, _FEATURES_ROOTS, FEATURES_FOLDER, "pair of feature encoders", _FEATURES_FIX, "folder")


def is_audio_model(path: str | None) -> bool:
    """Whether the header of a .safetensors file has an audio model's config. Only the header is read."""
    if path is None or not path.endswith(".safetensors"):
        return False
    try:
        return AUDIO_METADATA_KEY in read_metadata(Path(path))
    except LuminaError:
        return False


def stamp_of_entry(find: Callable[[str], Path], name: str) -> str:
    """The fingerprint of an entry's file or folder, see `stamp`; empty if it is missing."""
    try:
        return stamp(find(name))
    except (LuminaError, OSError):
        return ""


def _entries(own: list[str]) -> list[str]:
    return [*_with_audio(), *own] or [NOTHING]


def _with_audio() -> list[str]:
    entries = []
    for entry in bundled_entries():
        try:
            bundle = bundle_of(entry)
        except LuminaError:  # raised again when the entry is loaded
            continue
        if bundle is not None and bundle.audio is not None:
            entries.append(entry)
    return entries


def _find(name: str, roots: tuple[str, ...], part: str, what: str, fix: str, field: str) -> Path:
    if bundle := bundle_of(name):
        if bundle.audio is None:
            raise LuminaError(f"Bundle '{bundle.name}' has no audio model; {fix}", field=field, kind="missing")
        if not (bundle.audio / part).exists():
            raise LuminaError(
                f"The audio model of bundle '{bundle.name}' has no {part}; download the bundle again.",
                field=field,
                kind="missing",
            )
        return bundle.audio / part
    if name == NOTHING or is_bundled(name):
        raise LuminaError(f"No {what} is installed; {fix}", field=field, kind="missing")
    places = [Path(place) for root in roots for place in folder_paths.get_folder_paths(root)]
    for place in places:
        if ".." not in Path(name).parts and not Path(name).is_absolute() and (place / name).exists():
            return place / name
    looked = ", ".join(map(str, places))
    raise LuminaError(
        f"'{name}' is not in {looked}; put it there and reload the page, or choose another.",
        field=field,
        kind="missing",
    )


def _folders(roots: tuple[str, ...], parts: tuple[str, str]) -> list[str]:
    """Folders below the roots that contain both parts, relative to their root."""
    places = [Path(place) for root in roots for place in folder_paths.get_folder_paths(root)]
    found = {
        second.parent.relative_to(place).as_posix()
        for place in places
        for second in place.glob(f"*/**/{parts[1]}")
        if second.is_dir() and (second.parent / parts[0]).is_dir()
    }
    return sorted(found)
