"""Bundles: folders with a complete model (network, text encoder, VAE and perhaps an audio model) and its defaults.

A small one ships inside the package, in ``lumina_core/bundles``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import LuminaError
from ..runtime.dataclass_schema import KEY, build, field_keys
from ..sampling.plan import SamplingPlan
from ..sampling.presets import PRESETS
from ..shapes.latents import VideoSize
from .vocabulary import Vocabulary, unlearned_words

# Where bundled models are. Not resolved: if the package is a symbolic link, the bundles next to the link count.
SHIPPED = Path(__file__).absolute().parents[1] / "bundles"
# The file that describes a bundle.
DESCRIPTION = "bundle.json"
# The bundle that is used if no model is named.
DEFAULT_BUNDLE = "mini"
# Paths of a bundle: field and the key in ``bundle.json``.
_FILES = {"checkpoint": "checkpoint", "text_encoder": "text_encoder", "vae": "vae", "audio": "sound"}


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle. ``bundle.json`` has every field except ``folder``, with relative paths; ``audio`` is "sound" there.

    Args:
        name: by which ``--bundle`` and ``from_bundle`` find it.
        about: one line that describes it.
        folder: where it is.
        checkpoint, text_encoder, vae: files or folders for the loaders.
        preset: name of its sampling preset.
        size, fps: of the clips that it was trained on.
        motion_range: lowest and highest motion score that it was trained on.
        prompt: an example.
        vocabulary: words of the training captions; None if the model knows more than a list.
        audio: folder of the audio model (see ``audio_inputs.AudioFiles``); None for a bundle without one.

    Examples:
        >>> bundle = find_bundle("mini")
        >>> bundle.size, bundle.fps
        (VideoSize(width=64, height=64, frames=32), 8.0)
    """

    name: str
    about: str
    folder: Path
    checkpoint: Path
    text_encoder: Path
    vae: Path
    preset: str
    size: VideoSize
    fps: float
    motion_range: tuple[float, float]
    prompt: str
    vocabulary: Vocabulary | None = None
    audio: Path | None = field(default=None, metadata={KEY: "sound"})


def unlearned_motion(bundle: Bundle, plan: SamplingPlan) -> str | None:
    """A sentence for the user if a motion score of the plan is outside the training range of the bundle, or None."""
    lowest, highest = bundle.motion_range
    scores = (score for schedule in (plan.motion, plan.negative_motion) for score in schedule.values)
    outside = next((score for score in scores if score is not None and not lowest <= score <= highest), None)
    if outside is None:
        return None
    return f"motion {outside:g} is outside the range that {bundle.name} was trained on, {lowest:g} to {highest:g}"


def unlearned_prompt(bundle: Bundle, prompt: str, what: str = "prompt") -> str | None:
    """A sentence for the user if a prompt has words that the bundle does not know, or None; see ``unlearned_words``."""
    return unlearned_words(bundle.name, bundle.vocabulary, prompt, what)


def bundled() -> list[str]:
    """Names of the bundles that ship with the package, sorted; empty if their folder does not exist."""
    return sorted(file.parent.name for file in SHIPPED.glob(f"*/{DESCRIPTION}"))


def find_bundle(name_or_path: str | Path) -> Bundle:
    """The bundled model of this name, or the bundle in this folder.

    Raises:
        LuminaError: there is none, or it is damaged.
    """
    if str(name_or_path) in bundled():
        return read_bundle(SHIPPED / name_or_path)
    if Path(name_or_path).is_dir():
        return read_bundle(Path(name_or_path))
    known = f"one of {', '.join(bundled())}, or a folder" if bundled() else "the folder of one"
    raise LuminaError(
        f"There is no bundle '{name_or_path}'; give {known} with a {DESCRIPTION}.", field="bundle", kind="missing"
    )


def read_bundle(folder: Path) -> Bundle:
    """The bundle in a folder. Checks that its files exist, but does not read them.

    Raises:
        LuminaError: the description or a file is missing, or the description is damaged.
    """
    file = folder / DESCRIPTION
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LuminaError(
            f"Folder {folder} has no {DESCRIPTION}; give the folder of a bundle.", field="bundle", kind="missing"
        ) from None
    except (OSError, ValueError) as error:
        raise LuminaError(
            f"{file} is not readable JSON ({error}); download the bundle again.", field="bundle", kind="file"
        ) from error
    if isinstance(values, dict):
        if "folder" in values:
            raise LuminaError(
                f"{file} has an unknown field 'folder'; known fields are {', '.join(_known())}.",
                field="bundle",
                kind="file",
            )
        values = {**values, "folder": str(folder)}
    bundle = build(Bundle, values, str(file))
    if bundle.preset not in PRESETS:
        raise LuminaError(
            f"{file} has preset '{bundle.preset}'; use one of {', '.join(PRESETS)}.", field="preset", kind="file"
        )
    given = {name: path for name in _FILES if (path := getattr(bundle, name)) is not None}
    return replace(bundle, **{name: _inside(file, _FILES[name], path) for name, path in given.items()})


def _inside(file: Path, name: str, path: Path) -> Path:
    """The path ``name`` of a bundle, which must exist below the folder of the bundle. Raises LuminaError."""
    if path.is_absolute() or ".." in path.parts:
        raise LuminaError(
            f"{file} has {name} '{path}'; write a path below the folder of the bundle.", field=name, kind="file"
        )
    if not (file.parent / path).exists():
        raise LuminaError(
            f"{file} has {name} '{path}', which does not exist; download the bundle again.", field=name, kind="missing"
        )
    return file.parent / path


def _known() -> list[str]:
    return [key for key in field_keys(Bundle) if key != "folder"]
