"""The version of this package, from the one place that holds it: pyproject.toml."""

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PYPROJECT = re.compile(r'^\[project\]\s+name = "lumina-video"\s[^\[]*?^version = "([^"]+)"', re.MULTILINE)


def read_version(root: Path) -> str:
    """The version of the checkout or node pack in a folder, else that of the installed wheel.

    Args:
        root: the folder that holds ``lumina_core``. Its pyproject.toml comes first, because a node pack in
            ``custom_nodes`` is not installed.

    Returns:
        Such as ``0.1.0``; ``unknown`` for a bare copy of the package, which has neither.
    """
    try:
        found = _PYPROJECT.search((root / "pyproject.toml").read_text(encoding="utf-8"))
    except OSError:
        found = None
    if found:
        return found[1]
    try:
        return version("lumina-video")
    except PackageNotFoundError:
        return "unknown"


__version__ = read_version(Path(__file__).absolute().parents[1])
