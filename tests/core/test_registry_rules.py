"""The published files keep the registry's rules: no processes, network, evaluated or pickled code; valid metadata."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from registry_rules import broken_rules

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
NEVER_TRACKED = {".git", ".venv", ".demo", "node_modules", "__pycache__", ".pytest_cache", ".ruff_cache"}


def tracked_files() -> list[str]:
    """Paths that git tracks or would track, with slashes; all files where there is no git."""
    if shutil.which("git") and (ROOT / ".git").exists():
        command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
        if done.returncode == 0:
            return [name for name in done.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    files = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return [path.as_posix() for path in files if not NEVER_TRACKED & set(path.parts)]


def ignore_patterns() -> list[str]:
    lines = (ROOT / ".comfyignore").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def is_ignored(path: str, patterns: list[str]) -> bool:
    """Git's ignore rules, as far as .comfyignore uses them: names, `*`, folders that end in a slash, anchors."""
    parts = path.split("/")
    prefixes = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    for pattern in patterns:
        candidates = prefixes if "/" in pattern.rstrip("/") else parts
        if pattern.endswith("/"):
            candidates = candidates[:-1]
        if any(fnmatchcase(candidate, pattern.strip("/")) for candidate in candidates):
            return True
    return False


def published_files() -> list[str]:
    patterns = ignore_patterns()
    return [path for path in tracked_files() if not is_ignored(path, patterns)]


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_published_python_keeps_the_rules():
    sources = [path for path in published_files() if path.endswith(".py")]
    assert "lumina_core/__init__.py" in sources and "__init__.py" in sources
    breaches = [b for path in sources for b in broken_rules(path, (ROOT / path).read_text(encoding="utf-8"))]
    assert breaches == []


def test_published_files_are_the_pack_and_nothing_else():
    rooms = {path.partition("/")[0] for path in published_files()}
    allowed = {
        "__init__.py", "lumina_core", "nodes", "web", "locales", "workflows", "recipes",
        "pyproject.toml", "requirements.txt", "README.md", "CHANGELOG.md", "LICENSE", "NOTICE",
    }  # fmt: skip
    assert rooms <= allowed


def test_published_scripts_of_the_page_stay_on_the_page():
    bad = re.compile(r"\beval\s*\(|new Function\s*\(|https?://|document\.write|\bimport\s*\(\s*[\"']http")
    scripts = [path for path in published_files() if path.endswith((".js", ".mjs"))]
    assert [path for path in scripts if bad.search((ROOT / path).read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    "path", ["tests/core/x.py", "benchmarks/a.py", "run.py", ".ci/run", "scripts/a.py", "docs/a.md"]
)
def test_comfyignore_leaves_out(path):
    assert is_ignored(path, ignore_patterns())


@pytest.mark.parametrize("path", ["nodes/run_nodes.py", "lumina_core/cli.py", "web/docs/A.md", "workflows/a.json"])
def test_comfyignore_keeps_the_pack(path):
    assert not is_ignored(path, ignore_patterns())


@pytest.mark.parametrize(
    "path, source",
    [
        ("nodes/a.py", "import subprocess"),
        ("nodes/a.py", "from os import system\nimport os\nos.system('ls')"),
        ("nodes/a.py", "import os\nos.execv('a', [])"),
        ("nodes/a.py", "import os\nos.popen('ls')"),
        ("nodes/a.py", "import socket"),
        ("nodes/a.py", "import urllib.request"),
        ("nodes/a.py", "from urllib import request"),
        ("nodes/a.py", "def f():\n    import requests"),
        ("nodes/a.py", "from http.client import HTTPConnection"),
        ("nodes/a.py", "from huggingface_hub import snapshot_download"),
        ("nodes/a.py", "eval('1')"),
        ("nodes/a.py", "exec('1')"),
        ("nodes/a.py", "compile('1', 'a', 'eval')"),
        ("nodes/a.py", "__import__('os')"),
        ("lumina_core/a.py", "import pickle"),
        ("lumina_core/a.py", "from pickle import Unpickler"),
        ("lumina_core/a.py", "import torch\ntorch.load('a')"),
        ("lumina_core/a.py", "import torch\ntorch.load('a', weights_only=False)"),
        ("lumina_core/a.py", "import torch\ntorch.load('a', weights_only=flag)"),
        ("nodes/a.py", "import os\nos.environ['A'] = '1'"),
        ("nodes/a.py", "import os\ndel os.environ['A']"),
        ("nodes/a.py", "import os\nos.environ.setdefault('A', '1')"),
        ("lumina_core/a.py", "import comfy.ops"),
        ("lumina_core/a.py", "def f():\n    from comfy import ops"),
        ("lumina_core/a.py", "from ..nodes import names"),
        ("lumina_core/a.py", "import lumina_core.network.ops"),
        ("lumina_core/a.py", "import transformers"),
        ("lumina_core/a.py", "class A:\n    import diffusers"),
        ("lumina_core/audio/a.py", "from ...nodes import names"),
        ("nodes/a.py", "from lumina_core import sample"),
        ("nodes/a.py", "import comfy.sd"),
        ("nodes/page/a.py", "def f():\n    from server import PromptServer"),
    ],
)
def test_rules_catch(path, source):
    assert broken_rules(path, source)


@pytest.mark.parametrize(
    "path, source",
    [
        ("lumina_core/a.py", "import pickletools\nimport torch\nfrom einops import rearrange\nfrom . import ops"),
        ("lumina_core/a.py", "def f():\n    import av\n    from transformers import AutoTokenizer"),
        ("lumina_core/a.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import numpy"),
        ("lumina_core/audio/a.py", "from ..ops import Ops"),
        ("lumina_core/a.py", "import torch\ntorch.load('a', map_location='cpu', weights_only=True)"),
        ("lumina_core/a.py", "import re\nre.compile('a')\nmodel.eval()\nmodel.compile()"),
        ("nodes/a.py", "import os\nos.environ.get('A')\nos.path.join('a')"),
        ("nodes/host/a.py", "import comfy.sd\nfrom ...lumina_core import sample"),
        ("nodes/a.py", "import torch\nfrom comfy_api.latest import io\nfrom ..lumina_core import sample"),
        ("nodes/a.py", "from urllib.parse import quote"),
    ],
)
def test_rules_let_pass(path, source):
    assert broken_rules(path, source) == []


def test_project_fields():
    about = project()["project"]
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]{0,98}", about["name"])
    assert "comfyui" not in about["name"].lower(), "the registry asks for names without it"
    assert re.fullmatch(r"\d+\.\d+\.\d+", about["version"])
    assert about["license"] == "Apache-2.0", "an SPDX identifier"
    assert about["license-files"] == ["LICENSE", "NOTICE"]
    assert all((ROOT / name).is_file() for name in about["license-files"])
    assert about["description"] and about["requires-python"] == ">=3.10"
    assert about["urls"]["Repository"].startswith("https://")
    assert "dynamic" not in about, "ComfyUI and its registry read the fields where they are written"


def floors(lines: list[str]) -> dict[str, tuple[int, ...]]:
    """The least version of each requirement; () for any."""
    split = [re.split(r">=", line.strip()) for line in lines if line.strip() and not line.startswith("#")]
    return {name.lower(): tuple(int(part) for part in "".join(floor).split(".") if part) for name, *floor in split}


def test_what_comfyui_users_install_is_part_of_the_package():
    host = floors((ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines())
    about = project()["project"]
    extras = [line for lines in about["optional-dependencies"].values() for line in lines]
    package = floors([*about["dependencies"], *extras])
    assert {name: floor for name, floor in host.items() if floor > package.get(name, (-1,))} == {}
    assert {"torch", "torchaudio"} <= package.keys() - host.keys(), "the host owns torch; the package brings it"


def test_comfy_fields():
    comfy = project()["tool"]["comfy"]
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", comfy["PublisherId"])
    assert comfy["DisplayName"]
    assert re.fullmatch(r">=\d+\.\d+\.\d+", comfy["requires-comfyui"])
    assert "web" not in comfy, "WEB_DIRECTORY registers the folder already; both would load every script twice"


def test_root_module_does_nothing_without_a_host():
    source = (ROOT / "__init__.py").read_text(encoding="utf-8")
    assert [line for line in source.splitlines() if line.startswith(("from ", "import "))] == ["import importlib.util"]
