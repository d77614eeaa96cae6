"""Kinds of recipes: the fields of each, and the files that it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import LuminaError
from ..mini.audio_bundling import AudioBundleRecipe
from ..mini.audio_codec import AudioCodecRecipe
from ..mini.audio_dataset import AudioDataRecipe
from ..mini.audio_encoders import AudioEncodersRecipe
from ..mini.autoencoder import AutoencoderRecipe
from ..mini.bundling import BundleRecipe
from ..mini.dataset import DrawnDataRecipe
from ..mini.text_encoder import TextEncoderRecipe
from ..runtime.dataclass_schema import build
from ..train.audio.recipe import AudioRecipe
from ..train.recipe import Recipe

# The entry of a recipe that says its kind, and the kind of recipes without it.
KIND = "kind"
_DEFAULT = "video"


@dataclass(frozen=True)
class RecipeKind:
    """A kind of recipe.

    Args:
        recipe: dataclass of its fields.
        needs: paths in a recipe that must exist before it runs.
    """

    recipe: type
    needs: Callable[[Any], list[Path]]


# Kinds by the value of ``kind``.
KINDS = {
    "video": RecipeKind(
        Recipe,
        lambda recipe: [
            recipe.text_encoder,
            *(path for path in (recipe.start_from, recipe.vae) if path),
            *(path for source in recipe.sources.values() for path in (source.encoded, source.held_out) if path),
        ],
    ),
    "autoencoder": RecipeKind(AutoencoderRecipe, lambda recipe: []),
    "text_encoder": RecipeKind(TextEncoderRecipe, lambda recipe: []),
    "drawn_data": RecipeKind(DrawnDataRecipe, lambda recipe: [recipe.vae]),
    "sound": RecipeKind(
        AudioRecipe,
        lambda recipe: [
            *(path for path in (recipe.start_from, recipe.features) if path),
            *(path for source in recipe.sources.values() for path in (source.encoded, source.held_out) if path),
        ],
    ),
    "bundle": RecipeKind(BundleRecipe, lambda recipe: [recipe.network, recipe.text_encoder, recipe.vae]),
    "sound_codec": RecipeKind(AudioCodecRecipe, lambda recipe: []),
    "sound_encoders": RecipeKind(AudioEncodersRecipe, lambda recipe: []),
    "sound_data": RecipeKind(AudioDataRecipe, lambda recipe: [recipe.features, recipe.codec]),
    "sound_bundle": RecipeKind(
        AudioBundleRecipe, lambda recipe: [recipe.out, recipe.network, recipe.features, recipe.codec]
    ),
}


@dataclass(frozen=True)
class Stage:
    """A recipe file that was read and checked.

    Args:
        file: the file.
        kind: a key of ``KINDS``.
        recipe: its fields.
    """

    file: Path
    kind: str
    recipe: Any


def read_stages(paths: list[Path]) -> list[Stage]:
    """Read recipes.

    Args:
        paths: .yaml files, or folders of .yaml files, which are sorted by name.

    Raises:
        LuminaError: a recipe is invalid, or needs a file that neither exists nor is made by an earlier recipe.
    """
    stages = [read_stage(file) for path in paths for file in _files(path)]
    made: list[Path] = []
    for stage in stages:
        for path in KINDS[stage.kind].needs(stage.recipe):
            if not path.exists() and not any(path.is_relative_to(folder) for folder in made):
                raise LuminaError(
                    f"{stage.file} names {path}, which does not exist; fix the path (it is relative to the current "
                    "folder), or make the file first.",
                    field=None,
                    kind="missing",
                )
        made.append(stage.recipe.out)
    return stages


def read_stage(file: Path) -> Stage:
    """Read a recipe file. Raises LuminaError if it is invalid."""
    values = _read_yaml(file)
    kind = values.pop(KIND, _DEFAULT)
    if not isinstance(kind, str) or kind not in KINDS:
        raise LuminaError(f"{file} has kind '{kind}'; write one of {', '.join(KINDS)}.", field="kind", kind="value")
    try:
        return Stage(file, kind, build(KINDS[kind].recipe, values, "the recipe"))
    except LuminaError as error:
        sentence = f"{str(error)[:1].upper()}{str(error)[1:]}"
        raise LuminaError(f"{file}: {sentence}", field=error.field, kind="value") from None


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("*.yaml"))
    if not found:
        raise LuminaError(
            f"Folder {path} has no .yaml file; give a recipe or a folder of recipes.", field="recipes", kind="missing"
        )
    return found


def _read_yaml(file: Path) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise LuminaError(
            f"Recipe {file} cannot be read ({error}); give a .yaml file.", field="recipes", kind="file"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise LuminaError(
            f"Recipe {file} is not YAML{line} ({getattr(error, 'problem', None) or 'unreadable'}); fix the file.",
            field="recipes",
            kind="file",
        ) from None
    if not isinstance(values, dict):
        raise LuminaError(
            f"Recipe {file} is empty or has no fields; see recipes/ for examples.", field="recipes", kind="file"
        )
    return values
