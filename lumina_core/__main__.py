"""``python -m lumina_core`` and the console script ``lumina-video``."""

import sys

from . import cli


def main() -> int:
    """Run the command line on ``sys.argv``; returns the exit status (see `cli.main`)."""
    for stream in (sys.stdout, sys.stderr):
        # A prompt may hold letters that a console of another encoding, or a pipe on Windows, cannot write.
        stream.reconfigure(errors="backslashreplace")
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
