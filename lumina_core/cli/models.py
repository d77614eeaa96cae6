"""Flags that say which models to use: three paths, a bundle, or nothing for the bundle that comes along."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import LuminaError
from ..pipelines.audio_inputs import AudioFiles
from ..pipelines.bundle import DEFAULT_BUNDLE, Bundle, bundled, find_bundle
from .options import existing, use_preset

_FLAGS = ("--checkpoint", "--text-encoder", "--vae")
_NOTE = f"no models were named, so the bundle {DEFAULT_BUNDLE} is used: a small model that knows drawn shapes only."
_VOICE_NOTE = (
    f"no voice was named, so that of the bundle {DEFAULT_BUNDLE} is used: a small one that knows drawn shapes only."
)


@dataclass(frozen=True)
class Models:
    """Files to use, the bundle that they are from, and a sentence for the user where the choice was not theirs."""

    checkpoint: Path
    text_encoder: Path
    vae: Path
    bundle: Bundle | None = None
    note: str | None = None


def add_bundle_option(group: argparse._ActionsContainer) -> None:
    shipped = f" ({', '.join(bundled())})" if bundled() else ""
    group.add_argument(
        "--bundle", metavar="NAME", help=f"all models in one: a bundle that comes along{shipped}, or a bundle's folder"
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(f"models (default: the bundle {DEFAULT_BUNDLE}, which comes along)")
    add_bundle_option(group)
    group.add_argument("--checkpoint", metavar="PATH", help="released folder, .safetensors or .pth file")
    group.add_argument("--text-encoder", metavar="FOLDER", help="google/gemma-2-2b for transformers")
    group.add_argument("--vae", metavar="PATH", help="vae folder of CogVideoX-2b, or .safetensors file")


def models_from(arguments: argparse.Namespace) -> Models:
    """The models of the flags; a bundle's preset becomes the default one. Raises LuminaError."""
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
                f"No models are named, and the bundle {DEFAULT_BUNDLE} is not there; these flags are then required: "
                f"{', '.join(_FLAGS)}, or --bundle FOLDER."
            )
        return replace(bundle_models(arguments), note=_NOTE)
    if arguments.bundle is not None:
        clash = next(flag for flag in _FLAGS if flag not in missing)
        raise LuminaError(f"--bundle brings all models and {clash} names one; use only one of them.")
    raise LuminaError(
        f"These flags are required: {', '.join(missing)}, as models go together; give {', '.join(_FLAGS)}, or --bundle."
    )


def bundle_models(arguments: argparse.Namespace) -> Models:
    """The models of ``--bundle``, or of the default one; its preset becomes the default one. Raises LuminaError."""
    bundle = chosen_bundle(arguments)
    return Models(bundle.checkpoint, bundle.text_encoder, bundle.vae, bundle)


def chosen_bundle(arguments: argparse.Namespace) -> Bundle:
    """``--bundle``, or the default one; its preset becomes the default one. Raises LuminaError."""
    bundle = find_bundle(arguments.bundle or DEFAULT_BUNDLE)
    use_preset(arguments, bundle.preset)
    return bundle


def bundled_voice(name: str | None) -> tuple[AudioFiles, str | None]:
    """The voice of a bundle, and a sentence for the user where ``name`` is None and it is the default one.

    Raises LuminaError for a bundle without one.
    """
    if name is None and DEFAULT_BUNDLE not in bundled():
        raise LuminaError(
            f"No voice is named, and the bundle {DEFAULT_BUNDLE} is not there; give --bundle FOLDER, or --model, "
            "--features and --codec."
        )
    bundle = find_bundle(name or DEFAULT_BUNDLE)
    if bundle.sound is None:
        raise LuminaError(
            f"The bundle {bundle.name} has no voice, only pictures; fetch it again, or give --model, --features and "
            "--codec of the command sound."
        )
    return AudioFiles.of(bundle.sound), None if name else _VOICE_NOTE
