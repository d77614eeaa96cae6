"""Flags that select the models: three paths, a bundle, or nothing for the bundled model."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import LuminaError
from ..pipelines.audio_inputs import AudioFiles
from ..pipelines.bundle import DEFAULT_BUNDLE, Bundle, bundled, find_bundle
from .options import existing, use_preset

# Flags that name the parts of a video model.
_FLAGS = ("--checkpoint", "--text-encoder", "--vae")
_NOTE = (
    f"no models were given, so the bundled model {DEFAULT_BUNDLE} is used: a small one that knows drawn shapes only."
)
_AUDIO_NOTE = (
    f"no audio model was given, so that of the bundled model {DEFAULT_BUNDLE} is used: a small one that knows drawn "
    "shapes only."
)


@dataclass(frozen=True)
class Models:
    """Files of a video model.

    Args:
        checkpoint, text_encoder, vae: files or folders for the loaders.
        bundle: that they are from; None for files of the user.
        note: sentence for the user if they did not select a model.
    """

    checkpoint: Path
    text_encoder: Path
    vae: Path
    bundle: Bundle | None = None
    note: str | None = None


def add_bundle_option(group: argparse._ActionsContainer) -> None:
    """Add ``--bundle``."""
    shipped = f" ({', '.join(bundled())})" if bundled() else ""
    group.add_argument(
        "--bundle", metavar="NAME", help=f"a bundle with all models: the name of a bundled one{shipped}, or a folder"
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the flags that select a video model."""
    group = parser.add_argument_group(f"models (default: the bundled model {DEFAULT_BUNDLE})")
    add_bundle_option(group)
    group.add_argument("--checkpoint", metavar="PATH", help="folder in the released layout, .safetensors or .pth file")
    group.add_argument("--text-encoder", metavar="FOLDER", help="google/gemma-2-2b in the transformers layout")
    group.add_argument("--vae", metavar="PATH", help="vae folder of CogVideoX-2b, or .safetensors file")


def models_from(arguments: argparse.Namespace) -> Models:
    """The models that the flags select. The preset of a bundle becomes the default preset. Raises LuminaError."""
    given = {flag: getattr(arguments, flag[2:].replace("-", "_")) for flag in _FLAGS}
    missing = [flag for flag, path in given.items() if path is None]
    if not missing and arguments.bundle is None:
        checkpoint, text_encoder, vae = (existing(flag, path) for flag, path in given.items())
        return Models(checkpoint, text_encoder, vae)
    if len(missing) == len(_FLAGS):
        if arguments.bundle is not None:
            return bundle_models(arguments)
        if DEFAULT_BUNDLE not in bundled():
            raise LuminaError(
                f"No models are given, and the bundled model {DEFAULT_BUNDLE} is missing; these flags are then "
                f"required: {', '.join(_FLAGS)}, or --bundle FOLDER.",
                field="checkpoint",
                kind="missing",
            )
        return replace(bundle_models(arguments), note=_NOTE)
    if arguments.bundle is not None:
        clash = next(flag for flag in _FLAGS if flag not in missing)
        raise LuminaError(
            f"--bundle has all models and {clash} names one; use only one of them.", field="bundle", kind="value"
        )
    raise LuminaError(
        f"These flags are required: {', '.join(missing)}, because models must fit together; give {', '.join(_FLAGS)}, "
        "or --bundle.",
        field=missing[0][2:].replace("-", "_"),
        kind="value",
    )


def bundle_models(arguments: argparse.Namespace) -> Models:
    """The models of ``--bundle``, or of the default bundle. Its preset becomes the default preset. Raises
    LuminaError."""
    bundle = chosen_bundle(arguments)
    return Models(bundle.checkpoint, bundle.text_encoder, bundle.vae, bundle)


def chosen_bundle(arguments: argparse.Namespace) -> Bundle:
    """The bundle of ``--bundle``, or the default one. Its preset becomes the default preset. Raises LuminaError."""
    bundle = find_bundle(arguments.bundle or DEFAULT_BUNDLE)
    use_preset(arguments, bundle.preset)
    return bundle


def bundled_audio(name: str | None) -> tuple[AudioFiles, str | None]:
    """The audio model of a bundle.

    Args:
        name: of the bundle, or its folder; None for the default bundle.

    Returns:
        Its files, and a note for the user if ``name`` is None.

    Raises:
        LuminaError: the bundle is missing or has no audio model.
    """
    if name is None and DEFAULT_BUNDLE not in bundled():
        raise LuminaError(
            f"No audio model is given, and the bundled model {DEFAULT_BUNDLE} is missing; give --bundle FOLDER, or "
            "--model, --features and --codec.",
            field="bundle",
            kind="missing",
        )
    bundle = find_bundle(name or DEFAULT_BUNDLE)
    if bundle.audio is None:
        raise LuminaError(
            f"The bundle {bundle.name} has no audio model; use another bundle, or the command audio with --model, "
            "--features and --codec.",
            field="bundle",
            kind="missing",
        )
    return AudioFiles.of(bundle.audio), None if name else _AUDIO_NOTE
