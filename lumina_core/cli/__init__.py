"""The command line. A command is one module here with NAME, USAGE, HELP, EXAMPLES, add_options and run."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch

from ..errors import LuminaError
from ..version import __version__
from . import audio as sound
from . import demo, encode, generate, motion, plan, train
from .options import INTERRUPTED, Parser

COMMANDS = (demo, generate, sound, plan, motion, encode, train)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 done, 2 bad input, 130 interrupted, 1 the machine's limits.

    1 is also what a command returns that did its work on some of many inputs.
    """
    try:
        arguments = build_parser().parse_args(argv)
        return arguments.run(arguments) or 0
    except LuminaError as error:
        return _fail(f"error: {error}", 2)
    except torch.cuda.OutOfMemoryError:
        return _fail("error: The GPU ran out of memory; use a smaller size, fewer frames, or --vae-tile 32.", 1)
    except OSError as error:
        return _fail(f"error: {error}", 1)
    except KeyboardInterrupt:
        return _fail("Interrupted; nothing was written.", INTERRUPTED)


def build_parser() -> Parser:
    """The parser of all commands; its errors are LuminaErrors."""
    parser = Parser(
        prog="python -m lumina_core",
        description="Lumina-Video: text to video, and video to sound, on the command line.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in COMMANDS:
        command = commands.add_parser(
            module.NAME,
            help=module.HELP,
            usage=f"{parser.prog} {module.NAME} {module.USAGE}",
            description=module.HELP,
            epilog=module.EXAMPLES,
            allow_abbrev=False,
        )
        module.add_options(command)
        command.set_defaults(run=module.run)
    return parser


def _fail(line: str, status: int) -> int:
    print(line, file=sys.stderr)
    return status
