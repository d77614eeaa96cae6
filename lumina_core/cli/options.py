"""Flags that commands share, and what they mean."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from ..cost.budget import propose
from ..errors import LuminaError
from ..network.config import VideoConfig
from ..network.forward_options import ROPES
from ..sampling.plan import SamplingPlan
from ..sampling.presets import DEFAULT_PRESET, PRESETS, preset_clip
from ..sampling.solvers import SOLVERS
from ..shapes.latents import VideoSize
from ..shapes.resolutions import pick_size

# Exit status after an interrupt, as shells have it: 128 + SIGINT.
INTERRUPTED = 130
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
    """Keeps line breaks of examples, and reports a wrong flag like any other bad input."""

    def __init__(self, **settings) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def error(self, message: str) -> NoReturn:
        raise LuminaError(f"{message[:1].upper()}{message[1:]}; see: {self.prog} --help")


def whole(text: str) -> int:
    """Type of a flag."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number, such as 64") from None


def number(text: str) -> float:
    """Type of a flag."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number, such as 0.3") from None


def add_size_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("clip (defaults: those of the preset)")
    group.add_argument("--width", type=whole, metavar="PIXELS", help="multiple of 16, of 32 when the schedule uses 2x4")
    group.add_argument("--height", type=whole, metavar="PIXELS", help="the same")
    group.add_argument(
        "--ratio",
        metavar="W:H",
        help="in place of width and height: the size of the preset's area that is nearest to it, such as 9:16",
    )
    group.add_argument("--frames", type=whole, metavar="N", help="1 for an image, else a multiple of 8")


def add_plan_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sampling (defaults: those of the preset)", _SAMPLING)
    group.add_argument("--preset", metavar="NAME", help=f"default {DEFAULT_PRESET}, or that of the bundle")
    group.add_argument(
        "--patch",
        metavar="PATCH",
        help="latent frames x latent pixels per side of a token; 2x4 is coarse and fast, 1x2 fine",
    )
    group.add_argument(
        "--budget",
        type=number,
        metavar="SHARE",
        help="in place of --patch: the finest late steps for this share of the compute of 1x2 throughout, above 0 to 1",
    )
    group.add_argument(
        "--guidance", metavar="G", help="how hard to follow the prompt: 0 is off and halves the cost; ComfyUI's cfg - 1"
    )
    group.add_argument(
        "--motion", metavar="SCORE", help="mean optical flow to aim at, from 0 (still); none leaves it open"
    )
    group.add_argument(
        "--negative-motion", metavar="SCORE", help="the same for the negative pass; below --motion asks for more motion"
    )
    group.add_argument(
        "--renorm", type=number, metavar="R", help="bound on guidance, as a multiple of the plain velocity; 0 is off"
    )
    group.add_argument(
        "--time-shift", type=number, metavar="S", help="above 0; larger spends more steps near the noise, 1 is none"
    )
    group.add_argument("--points", type=whole, metavar="N", help="points in time, from 2; one more than steps")
    group.add_argument("--solver", metavar="NAME", help=_per_step())
    group.add_argument(
        "--cache",
        type=number,
        metavar="TOLERANCE",
        help="step cache: skip the network while the velocity changes by less, such as 0.2; 0 is off; not exact, see "
        "docs/performance.md",
    )
    group.add_argument(
        "--times",
        metavar="T",
        help="points in time: rational (by the time shift), linear, sigmoid (experimental), each also with 'through "
        "switches' behind it, which moves points onto the switches of the schedules; or a list such as "
        "'0, 0.1, 0.4, 1', which replaces --points",
    )
    group.add_argument(
        "--rope",
        metavar="NAME",
        help=f"positions beyond the size that the checkpoint was trained on: {', '.join(ROPES)}; off counts on, auto "
        "scales them where the checkpoint says that size",
    )
    group.add_argument(
        "--proportional",
        action="store_const",
        const=True,
        help="beyond that size, scale attention by the number of tokens, too",
    )
    group.add_argument(
        "--context-drop",
        type=number,
        metavar="T",
        help="early layers read pooled keys up to this time t, such as 0.1; 0 is off, 1 the most; not exact, see "
        "docs/performance.md",
    )


def _per_step() -> str:
    """Solvers by their evaluations per step."""
    counts = sorted({solver.evaluations for solver in SOLVERS.values()})
    named = {n: ", ".join(name for name, solver in SOLVERS.items() if solver.evaluations == n) for n in counts}
    return "network evaluations per step: " + "; ".join(f"{n} {names}" for n, names in named.items())


def plan_from(arguments: argparse.Namespace, size: VideoSize, config: VideoConfig) -> SamplingPlan:
    """The preset with the given changes and, for ``--budget``, the proposed patch schedule; checked against the clip.

    Raises LuminaError.
    """
    changes = {name: getattr(arguments, name) for name in _OVERRIDES if getattr(arguments, name) is not None}
    plan = PRESETS[preset_name(arguments)].replace(**changes)
    if arguments.budget is None:
        config.check_size(size.latent(), plan.patches)
        return plan
    if arguments.patch is not None:
        raise LuminaError("--budget proposes a patch schedule and --patch gives one; use only one of them.")
    return propose(plan, arguments.budget, size.latent(), config)


def size_from(arguments: argparse.Namespace) -> VideoSize:
    """The preset's clip with the given changes. Raises LuminaError."""
    clip = preset_clip(preset_name(arguments))
    size, given = clip.size, {name: getattr(arguments, name) for name in ("width", "height", "frames")}
    if arguments.ratio is not None:
        if given["width"] is not None or given["height"] is not None:
            raise LuminaError("--ratio gives width and height, and so do --width and --height; use only one of them.")
        given["width"], given["height"] = pick_size(clip.area.side, arguments.ratio, "--ratio")
    return VideoSize(**{name: getattr(size, name) if value is None else value for name, value in given.items()})


def existing(flag: str, path: str) -> Path:
    """A path that is there. Raises LuminaError that names the flag."""
    if not Path(path).exists():
        raise LuminaError(f"{flag} '{path}' does not exist; give a file or folder that does.")
    return Path(path)


def use_preset(arguments: argparse.Namespace, name: str) -> None:
    """Make ``name`` the preset where none was asked for."""
    if arguments.preset is None:
        arguments.preset = name


def preset_name(arguments: argparse.Namespace) -> str:
    """The preset that counts. Raises LuminaError where there is none of that name."""
    name = arguments.preset or DEFAULT_PRESET
    if name not in PRESETS:
        raise LuminaError(f"preset is '{name}'; use one of {', '.join(PRESETS)}.")
    return name
