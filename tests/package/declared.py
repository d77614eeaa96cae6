"""An environment with a wheel and what its metadata declares, and nothing else of the one that runs the tests."""

from __future__ import annotations

import subprocess
import sys
import venv
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Environment:
    """A virtual environment with one wheel in it."""

    root: Path

    @property
    def scripts(self) -> Path:
        return self.root / ("Scripts" if sys.platform == "win32" else "bin")

    @property
    def python(self) -> Path:
        return self.scripts / "python"


def declared(requirements: list[str], extras: frozenset[str] = frozenset()) -> set[str]:
    """Canonical names of all distributions that requirements lead to, directly or through others.

    Args:
        requirements: lines such as ``torch>=2.6; extra == "train"``.
        extras: the extras that are asked for.

    Returns:
        Names of installed distributions.

    Raises:
        LookupError: a requirement is not installed here, or in a version that does not satisfy it.
    """
    found: set[tuple[str, frozenset[str]]] = set()
    waiting = [(line, extras) for line in requirements]
    while waiting:
        line, asked = waiting.pop()
        requirement = Requirement(line)
        if requirement.marker and not any(requirement.marker.evaluate({"extra": name}) for name in {"", *asked}):
            continue
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in found:
            continue
        found.add(key)
        try:
            distribution = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError as error:
            raise LookupError(f"{line} is not installed here") from error
        if not requirement.specifier.contains(distribution.version, prereleases=True):
            raise LookupError(f"{line} is installed here as {distribution.version}")
        waiting += [(further, key[1]) for further in distribution.requires or []]
    return {name for name, _ in found}


def make_environment(root: Path, wheel: Path, distributions: set[str]) -> Environment:
    """A virtual environment with the wheel, its scripts, and links to the files of other distributions.

    Args:
        root: a new folder.
        wheel: the file; installed without an index and without its dependencies.
        distributions: names of distributions that are installed here.

    Raises:
        OSError: the account may make no links (Windows).
        subprocess.CalledProcessError: pip refused the wheel.
    """
    venv.create(root, with_pip=False)
    environment = Environment(root)
    install = ["install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(environment.python), *install], check=True)
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run([environment.python, "-c", ask], check=True, capture_output=True, text=True)
    packages = Path(done.stdout.strip())
    for name in distributions:
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            link = packages / top
            if not link.exists():
                link.symlink_to(Path(str(distribution.locate_file(top))))
    return environment
