"""``python -m lumina_core``."""

import sys

from .cli import main

for stream in (sys.stdout, sys.stderr):
    # A prompt may hold letters that a console of another encoding, or a pipe on Windows, cannot write.
    stream.reconfigure(errors="backslashreplace")
sys.exit(main())
