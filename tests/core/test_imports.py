"""What importing the core pulls in, told by a fresh interpreter."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("transformers", "diffusers", "av", "cv2", "PIL", "torchvision", "torchaudio", "matplotlib")
HOST = ("comfy", "comfy_api", "comfy_extras", "nodes", "folder_paths", "execution", "server")


def modules_after(statement):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603
    assert done.stderr == ""
    return {name.split(".")[0] for name in done.stdout.split()}


def core_modules():
    for path in sorted((ROOT / "lumina_core").rglob("*.py")):
        if path.name != "__main__.py":
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_importing_the_core_stays_light():
    loaded = modules_after("import lumina_core")
    assert "torch" not in loaded
    assert sorted(loaded & {*HEAVY, *HOST}) == []


@pytest.mark.slow
def test_no_module_of_the_core_needs_the_host_or_a_heavy_library_at_import():
    loaded = modules_after("import " + ", ".join(core_modules()))
    assert sorted(loaded & {*HEAVY, *HOST}) == []


@pytest.mark.parametrize("path", sorted((ROOT / "lumina_core").rglob("*.py")), ids=lambda p: p.stem)
def test_the_core_never_names_the_host(path):
    lines = [line.split("#")[0].split() for line in path.read_text(encoding="utf-8").splitlines()]
    named = [words[1].split(".")[0] for words in lines if len(words) > 1 and words[0] in ("import", "from")]
    assert sorted({*named} & {*HOST}) == []
