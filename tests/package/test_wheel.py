"""The wheel and the source archive: what is in them, and that the wheel works where nothing else is installed."""

from __future__ import annotations

import ast
import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from declared import ROOT, Environment, declared, make_environment
from packaging.utils import canonicalize_name

LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".demo", "node_modules", "__pycache__", "*.egg-info", "build", "dist", "runs", "site", ".*_cache"
)
SOURCES = {"pyproject.toml", "README.md", "LICENSE", "NOTICE"}
# Modules that lumina_core uses where they are there, and which no extra installs.
OPTIONAL = {"flash_attn", "flash_attn_interface"}
# Modules of the extras.
EXTRA = {"cv2": "motion", "yaml": "train", "matplotlib": "train"}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder with the source archive, and with the wheel that is built from it."""
    sources, dist = tmp_path_factory.mktemp("sources") / "pack", tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, sources, ignore=LEFT_OUT)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return dist


@pytest.fixture(scope="module")
def wheel(built) -> Path:
    return next(built.glob("*.whl"))


@pytest.fixture(scope="module")
def about(wheel):
    """The wheel's metadata."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_string(archive.read(name).decode())


@pytest.fixture(scope="module")
def environment(wheel, about, tmp_path_factory) -> Environment:
    """The wheel without extras, installed beside what its metadata declares."""
    distributions = declared(about.get_all("Requires-Dist"))
    try:
        return make_environment(tmp_path_factory.mktemp("environment"), wheel, distributions)
    except OSError as error:
        pytest.skip(f"this account may make no links: {error}")


def package_files() -> set[str]:
    """Every file of lumina_core in the repository, with slashes."""
    files = (path for path in (ROOT / "lumina_core").rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path.relative_to(ROOT).as_posix() for path in files}


def run_in(folder: Path, *command: str | Path) -> str:
    """What a command prints, run in a folder, with no module from a PYTHONPATH, such as that of run.py."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    assert {name for name in names if ".dist-info/" not in name} == package_files()
    assert {"lumina_core/py.typed", "lumina_core/bundles/mini/bundle.json"} <= names
    assert {name.rpartition("/")[2] for name in names if "/licenses/" in name} == {"LICENSE", "NOTICE"}


def test_the_source_archive_holds_what_builds_the_wheel(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert package_files() | SOURCES <= names
    rest = {name.partition("/")[0] for name in names - package_files() - SOURCES}
    assert rest <= {"PKG-INFO", "setup.cfg", "lumina_video.egg-info"}


def test_the_metadata_is_accepted_by_the_index(built):
    files = sorted(str(file) for file in built.iterdir())
    assert len(files) == 2
    run_in(built, sys.executable, "-m", "twine", "check", "--strict", *files)


def test_the_metadata_says_what_the_project_says(about):
    import lumina_core

    assert about["Version"] == lumina_core.__version__
    assert about["License-Expression"] == "Apache-2.0"
    assert about["Requires-Python"] == ">=3.10"
    assert set(about.get_all("Provides-Extra")) == set(EXTRA.values())


def third_party_modules() -> set[str]:
    """Top-level names of all that lumina_core imports from outside the standard library."""
    found = set()
    for file in (ROOT / "lumina_core").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"lumina_core"}


@pytest.mark.parametrize("module", sorted(third_party_modules() - OPTIONAL))
def test_every_import_is_of_a_declared_package(module, about):
    extras = frozenset({EXTRA[module]} if module in EXTRA else ())
    owners = {canonicalize_name(name) for name in metadata.packages_distributions().get(module, [])}
    assert owners & declared(about.get_all("Requires-Dist"), extras), f"nothing that is declared brings {module}"


def test_the_environment_sees_the_wheel_alone(environment, about, tmp_path):
    show = (
        "from importlib.util import find_spec; import lumina_core;"
        "print(lumina_core.__file__, lumina_core.__version__, find_spec('pytest'), find_spec('cv2'), sep='\\n')"
    )
    file, *rest = run_in(tmp_path, environment.python, "-c", show).splitlines()
    assert Path(file).is_relative_to(environment.root)
    assert rest == [about["Version"], "None", "None"]


def test_the_demo_makes_its_clip_in_an_empty_folder(environment, tmp_path):
    printed = run_in(tmp_path, environment.scripts / "lumina-video", "demo", "--points", "6")
    clip = tmp_path / printed.splitlines()[-1]
    assert clip.is_relative_to(tmp_path) and clip.stat().st_size > 1000
    assert re.search(r"s of audio in", printed), "the clip has its audio"
    assert "error" not in printed


def readme_example() -> str:
    """The README's first Python code, which it promises to run as it is."""
    return re.search(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)[1]


def test_the_readmes_lines_make_their_clip_in_an_empty_folder(environment, tmp_path):
    code = readme_example()
    assert len([line for line in code.splitlines() if line.strip()]) <= 8
    printed = run_in(tmp_path, environment.python, "-c", code)
    assert "1, 32, 64, 64, 3" in printed
    assert (tmp_path / "clip.mp4").stat().st_size > 1000
