"""Bundles: folders that hold everything for a clip - network, text encoder, VAE, maybe a voice - and say how to use it.

A small one ships inside the package, in ``lumina_core/bundles``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path

from ..errors import LuminaError
from ..runtime.dataclass_schema import build
from ..sampling.plan import SamplingPlan
from ..sampling.presets import PRESETS
from ..shapes.latents import VideoSize

# Not resolved: where the pack is reached by a link, what lies beside the link is meant.
SHIPPED = Path(__file__).absolute().parents[1] / "bundles"
DESCRIPTION = "bundle.json"
DEFAULT_BUNDLE = "mini"
_FILES = ("checkpoint", "text_encoder", "vae", "sound")


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """One bundle; ``bundle.json`` gives every field but ``folder``, with files relative to the folder.

    Args:
        name: what lists and ``--bundle`` call it.
        about: one line on what it is.
        folder: where it is.
        checkpoint, text_encoder, vae: files or folders that the loaders take.
        preset: name of the sampling preset that it was made for.
        size, fps: of the clips that it was trained on.
        motion_range: least and largest motion score that it was trained on.
        prompt: an example.
        sound: a sound folder (see ``audio_pipeline.AudioFiles``), None for a bundle without a voice.

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
    sound: Path | None = None


def unlearned_motion(bundle: Bundle, plan: SamplingPlan) -> str | None:
    """A sentence where the plan asks for a motion score that the network never saw; 0 is how it marks pictures."""
    least, largest = bundle.motion_range
    asked = (score for schedule in (plan.motion, plan.negative_motion) for score in schedule.values)
    outside = next((score for score in asked if score is not None and not least <= score <= largest), None)
    if outside is None:
        return None
    return f"motion {outside:g} is outside of what {bundle.name} has learned, {least:g} to {largest:g}"


def bundled() -> list[str]:
    """Names of the bundles that ship with the package, in order; none where the folder is not there."""
    return sorted(file.parent.name for file in SHIPPED.glob(f"*/{DESCRIPTION}"))


def find_bundle(name_or_path: str | Path) -> Bundle:
    """The bundle of a name in ``bundled()``, else of a folder. Raises LuminaError."""
    if str(name_or_path) in bundled():
        return read_bundle(SHIPPED / name_or_path)
    if Path(name_or_path).is_dir():
        return read_bundle(Path(name_or_path))
    known = f"one of {', '.join(bundled())}, or a folder" if bundled() else "the folder of one"
    raise LuminaError(f"There is no bundle '{name_or_path}'; give {known} with a {DESCRIPTION}.")


def read_bundle(folder: Path) -> Bundle:
    """The bundle in a folder; its files are looked for, not read. Raises LuminaError."""
    file = folder / DESCRIPTION
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LuminaError(f"Folder {folder} has no {DESCRIPTION}; give the folder of a bundle.") from None
    except (OSError, ValueError) as error:
        raise LuminaError(f"{file} is not readable JSON ({error}); fetch the bundle again.") from error
    if isinstance(values, dict):
        if "folder" in values:
            raise LuminaError(f"{file} has an unknown field 'folder'; known fields are {', '.join(_known())}.")
        values = {**values, "folder": str(folder)}
    bundle = build(Bundle, values, str(file))
    if bundle.preset not in PRESETS:
        raise LuminaError(f"{file} has preset '{bundle.preset}'; use one of {', '.join(PRESETS)}.")
    paths = {name: getattr(bundle, name) for name in _FILES}
    return replace(bundle, **{name: _inside(file, name, path) for name, path in paths.items() if path is not None})


def _inside(file: Path, name: str, path: Path) -> Path:
    """A path that lies below the bundle's folder and is there."""
    if path.is_absolute() or ".." in path.parts:
        raise LuminaError(f"{file} has {name} '{path}'; give a path below its own folder.")
    if not (file.parent / path).exists():
        raise LuminaError(f"{file} has {name} '{path}', which is not there; fetch the bundle again.")
    return file.parent / path


def _known() -> list[str]:
    return [field.name for field in fields(Bundle) if field.name != "folder"]
