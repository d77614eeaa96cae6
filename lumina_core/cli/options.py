"""Flags that several commands have, and the values that they give."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

from ..cost.budget import propose
from ..errors import LuminaError
from ..network.config import VideoConfig
from ..network.forward_options import ROPES
from ..sampling.plan import SamplingPlan
from ..sampling.presets import DEFAULT_PRESET, PRESETS, preset_clip
from ..sampling.solvers import solvers_by_evaluations
from ..shapes.latents import VideoSize
from ..shapes.resolutions import pick_size

# Exit status after an interrupt, as in shells: 128 + SIGINT.
INTERRUPTED = 130
# Exit status if some of many files could not be used.
SOME_FAILED = 1
# Flags that replace fields of the preset's plan.
_OVERRIDES = (
    *("patch", "guidance", "motion", "negative_motion", "renorm", "time_shift", "points", "solver", "cache"),
    *("times", "rope", "proportional", "context_drop"),
)
_CLIPS = "\n".join(
    f"  {name:22} {clip.size.width}x{clip.size.height}, {clip.size.frames} frames, {clip.fps} fps"
    for name, clip in ((name, preset_clip(name)) for name in PRESETS)
)
_SAMPLING = f"""presets:
{_CLIPS}
--patch, --guidance, --motion and --negative-motion take one value, or a schedule over
the time t from 0 (noise) to 1 (video), such as '2x4 | 0.03: 2x2 | 0.125: 1x2' or '20 | 0.2: 0'."""


class Parser(argparse.ArgumentParser):
    """A parser that keeps the line breaks of examples and raises LuminaError for wrong flags."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise LuminaError in place of ending the process."""
        raise LuminaError(f"{message[:1].upper()}{message[1:]}; see {self.prog} --help.", field=None, kind="value")


def whole(text: str) -> int:
    """The type of a flag that takes a whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number, such as 64") from None


def number(text: str) -> float:
    """The type of a flag that takes a number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number, such as 0.3") from None


def add_size_options(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the size of a clip."""
    group = parser.add_argument_group("clip (defaults: those of the preset)")
    group.add_argument(
        "--width", type=whole, metavar="PIXELS", help="multiple of 16, or of 32 if the schedule uses 2x4"
    )
    group.add_argument("--height", type=whole, metavar="PIXELS", help="as --width")
    group.add_argument(
        "--ratio",
        metavar="W:H",
        help="in place of --width and --height: aspect ratio, such as 9:16; uses the nearest training size of the "
        "preset",
    )
    group.add_argument("--frames", type=whole, metavar="N", help="1 for an image, otherwise a multiple of 8")


def add_plan_options(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a ``SamplingPlan``."""
    group = parser.add_argument_group("sampling (defaults: those of the preset)", _SAMPLING)
    for add in (_add_preset_options, _add_guidance_options, _add_step_options, _add_network_options):
        add(group)


def _add_preset_options(group: argparse._ArgumentGroup) -> None:
    """Add the preset and the flags of the patch schedule."""
    group.add_argument(
        "--preset", metavar="NAME", help=f"sampling preset (default {DEFAULT_PRESET}, or that of the bundle)"
    )
    group.add_argument(
        "--patch",
        metavar="PATCH",
        help="latent frames x latent pixels per side of a token; 2x4 is coarse and fast, 1x2 fine",
    )
    group.add_argument(
        "--budget",
        type=number,
        metavar="SHARE",
        help="in place of --patch: choose the patch schedule for this fraction of the FLOPs of a constant 1x2, above 0 "
        "and up to 1",
    )


def _add_guidance_options(group: argparse._ArgumentGroup) -> None:
    """Add the flags of the guidance and of the motion scores."""
    group.add_argument(
        "--guidance", metavar="G", help="guidance scale g: ComfyUI's CFG scale is g + 1; 0 is off and halves the cost"
    )
    group.add_argument(
        "--motion", metavar="SCORE", help="motion score, the mean optical flow, from 0 (still); none adds no condition"
    )
    group.add_argument(
        "--negative-motion",
        metavar="SCORE",
        help="motion score of the negative forward pass; a lower value than --motion increases the motion",
    )
    group.add_argument(
        "--renorm",
        type=number,
        metavar="R",
        help="upper bound on the norm of the guided velocity, relative to the positive one; 0 is off",
    )


def _add_step_options(group: argparse._ArgumentGroup) -> None:
    """Add the flags of the time grid, the solver and the step cache."""
    group.add_argument(
        "--time-shift",
        type=number,
        metavar="S",
        help="above 0; higher values spend more steps near the noise, 1 is off",
    )
    group.add_argument(
        "--points", type=whole, metavar="N", help="points of the time grid, from 2; one more than the number of steps"
    )
    group.add_argument("--solver", metavar="NAME", help=_per_step())
    group.add_argument(
        "--cache",
        type=number,
        metavar="TOLERANCE",
        help="step cache: skip the forward pass while the velocity changes by less than this, such as 0.2; 0 is off; "
        "changes the result, see docs/performance.md",
    )
    group.add_argument(
        "--times",
        metavar="T",
        help="time schedule: rational (uses --time-shift), linear or sigmoid (experimental), optionally followed by "
        "'through switches', which moves points onto the switches of the schedules; or a list such as "
        "'0, 0.1, 0.4, 1', which replaces --points",
    )


def _add_network_options(group: argparse._ArgumentGroup) -> None:
    """Add the flags of the forward pass: RoPE scaling and Context Drop."""
    group.add_argument(
        "--rope",
        metavar="NAME",
        help=f"RoPE scaling for sizes beyond the training size: {', '.join(ROPES)}; off does not scale (plain "
        "extrapolation), auto scales if the training size is known",
    )
    group.add_argument(
        "--proportional",
        action="store_const",
        const=True,
        help="beyond the training size, also scale attention by the number of tokens",
    )
    group.add_argument(
        "--context-drop",
        type=number,
        metavar="T",
        help="Context Drop: early layers use pooled keys and values up to this timestep, such as 0.1; 0 is off, 1 is "
        "always; changes the result, see docs/performance.md",
    )


def _per_step() -> str:
    """Help text: the solvers by evaluations per step."""
    named = (f"{count} {', '.join(names)}" for count, names in solvers_by_evaluations().items())
    return "network evaluations per step: " + "; ".join(named)


def plan_from(arguments: argparse.Namespace, size: VideoSize, config: VideoConfig) -> SamplingPlan:
    """The plan of the preset with the flags applied, including the patch schedule that ``--budget`` proposes.

    Raises:
        LuminaError: a flag is out of range, or the plan does not fit the size.
    """
    changes = {name: getattr(arguments, name) for name in _OVERRIDES if getattr(arguments, name) is not None}
    plan = PRESETS[preset_name(arguments)].replace(**changes)
    if arguments.budget is None:
        config.check_size(size.latent(), plan.patches)
        return plan
    if arguments.patch is not None:
        raise LuminaError(
            "--budget proposes a patch schedule and --patch gives one; use only one of them.",
            field="budget",
            kind="value",
        )
    return propose(plan, arguments.budget, size.latent(), config)


def size_from(arguments: argparse.Namespace) -> VideoSize:
    """The size of the preset with the flags applied. Raises LuminaError."""
    clip = preset_clip(preset_name(arguments))
    size, given = clip.size, {name: getattr(arguments, name) for name in ("width", "height", "frames")}
    if arguments.ratio is not None:
        if given["width"] is not None or given["height"] is not None:
            raise LuminaError(
                "--ratio gives width and height, and so do --width and --height; use only one of them.",
                field="ratio",
                kind="value",
            )
        given["width"], given["height"] = pick_size(clip.area.side, arguments.ratio, "--ratio")
    return VideoSize(**{name: getattr(size, name) if value is None else value for name, value in given.items()})


def existing(flag: str, path: str) -> Path:
    """The path of a flag such as ``--vae``, which must exist. Raises LuminaError."""
    if not Path(path).exists():
        raise LuminaError(
            f"{flag} '{path}' does not exist; give an existing file or folder.",
            field=flag.removeprefix("--").replace("-", "_"),
            kind="missing",
        )
    return Path(path)


def use_preset(arguments: argparse.Namespace, name: str) -> None:
    """Make ``name`` the preset unless ``--preset`` is given."""
    if arguments.preset is None:
        arguments.preset = name


def preset_name(arguments: argparse.Namespace) -> str:
    """The name of the preset. Raises LuminaError if it is unknown."""
    name = arguments.preset or DEFAULT_PRESET
    if name not in PRESETS:
        raise LuminaError(f"preset is '{name}'; use one of {', '.join(PRESETS)}.", field="preset", kind="value")
    return name
