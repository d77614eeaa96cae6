"""The command line ``lumina-video``. Each command is a module with NAME, USAGE, HELP, EXAMPLES, add_options and run."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..errors import LuminaError
from ..runtime.oom import OUT_OF_MEMORY, is_out_of_memory
from ..version import __version__
from . import audio, convert, demo, encode, generate, motion, plan, train
from .options import INTERRUPTED, Parser

# Modules of the commands, in the order of the help text.
COMMANDS = (demo, generate, audio, convert, plan, motion, encode, train)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: arguments without the name of the program; None uses those of the process.

    Returns:
        The exit status: 0 done, 1 out of memory or disk space, a file error, or some of many inputs failed, 2 bad
        input, 130 interrupted.
    """
    try:
        arguments = build_parser().parse_args(argv)
        return arguments.run(arguments) or 0
    except LuminaError as error:
        return _fail(f"error: {error}", 1 if error.kind == "resource" else 2)
    except OSError as error:
        return _fail(f"error: {error}", 1)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return _fail(f"error: {OUT_OF_MEMORY}", 1)
    except KeyboardInterrupt:
        return _fail("Interrupted; nothing was written.", INTERRUPTED)


def build_parser() -> Parser:
    """The parser of all commands. Its errors are LuminaErrors."""
    parser = Parser(
        prog="lumina-video",
        description="Lumina-Video: text-to-video and Video to Audio on the command line.",
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
