"""Entry point of ``python -m lumina_core`` and of the console script ``lumina-video``."""

import io
import sys

from . import cli


def main() -> int:
    """Run the command line on ``sys.argv``, and return the exit status (see ``cli.main``)."""
    for stream in (sys.stdout, sys.stderr):
        # A prompt may have characters that the encoding of the console, or of a pipe on Windows, does not have.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
