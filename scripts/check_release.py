"""Check whether a tag may be released: it must be the version of pyproject.toml, and the changelog must date it.

    python scripts/check_release.py v0.1.0

Exits with status 1 and prints what differs.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def problems(tag: str, pyproject: str, changelog: str) -> list[str]:
    """The reasons why a tag cannot be released.

    Args:
        tag: such as ``v0.1.0``.
        pyproject: text of pyproject.toml.
        changelog: text of CHANGELOG.md.

    Returns:
        Sentences; empty for a release that may go out.
    """
    found = re.search(r'^version = "([^"]+)"$', pyproject, re.MULTILINE)
    if found is None:
        return ["pyproject.toml has no line 'version = \"...\"'; add it to [project]."]
    version = found[1]
    said = []
    if tag != f"v{version}":
        said.append(f"The tag is {tag} and pyproject.toml has version {version}; tag v{version} or change the version.")
    if not re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d{{2}}-\d{{2}}$", changelog, re.MULTILINE):
        said.append(f"CHANGELOG.md has no heading '## [{version}] - YYYY-MM-DD'; give the release its date.")
    return said


def main() -> int:
    """Check the tag on the command line; returns the exit status."""
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "CHANGELOG.md")]
    found = problems(sys.argv[1], *texts)
    print("\n".join(found) or f"{sys.argv[1]} may be released.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
