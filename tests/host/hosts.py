"""Find ComfyUI checkouts to test against. Standard library only: benchmarks and scripts use it too."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).absolute().parents[2]
HOW_TO_POINT = (
    "Set COMFYUI_PATH to a ComfyUI folder (several: joined by "
    f"'{os.pathsep}') and, unless it has its own .venv, COMFYUI_PYTHON to the Python that runs it."
)


@dataclass(frozen=True)
class Host:
    """A ComfyUI checkout and the Python that runs it."""

    path: Path
    python: Path

    @property
    def version(self) -> str:
        text = (self.path / "comfyui_version.py").read_text(encoding="utf-8")
        found = re.search(r'__version__\s*=\s*"([^"]+)"', text)
        return found[1] if found else "unknown"


def find_hosts() -> tuple[list[Host], list[str]]:
    """The usable checkouts, and one sentence for each place that was looked at in vain.

    COMFYUI_PATH alone counts where it is set; else the folder above `custom_nodes/` when the repository lies in one;
    else ~/ComfyUI and every ~/ComfyUI-* beside it.
    """
    hosts: list[Host] = []
    missed: list[str] = []
    for path in _candidates():
        if not (path / "main.py").is_file() or not (path / "comfyui_version.py").is_file():
            missed.append(f"{path} is no ComfyUI checkout (no main.py and comfyui_version.py in it).")
        elif (python := _python_of(path)) is None:
            missed.append(f"{path} has no .venv, and COMFYUI_PYTHON names no file.")
        else:
            hosts.append(Host(path, python))
    return hosts, missed


def host_environment() -> dict[str, str]:
    """Environment for a host's process: no module path of ours, no downloads, output as it comes."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1", "PYTHONIOENCODING": "utf-8"}
    # The models of the tests are so small that threads mostly wait for one another.
    environment.setdefault("OMP_NUM_THREADS", "1")
    environment.pop("PYTHONPATH", None)
    return environment


def _candidates() -> list[Path]:
    if named := os.environ.get("COMFYUI_PATH"):
        return [Path(part).expanduser().absolute() for part in named.split(os.pathsep) if part]
    if REPOSITORY.parent.name == "custom_nodes":
        return [REPOSITORY.parent.parent]
    home = Path.home()
    return [home / "ComfyUI", *sorted(path for path in home.glob("ComfyUI-*") if (path / "main.py").is_file())]


def _python_of(path: Path) -> Path | None:
    if named := os.environ.get("COMFYUI_PYTHON"):
        candidates = [Path(named).expanduser().absolute()]
    else:
        folders = [path / ".venv", path / "venv", path.parent / "python_embeded"]
        files = ("bin/python", "Scripts/python.exe", "python.exe")
        candidates = [folder / file for folder in folders for file in files]
    return next((candidate for candidate in candidates if candidate.is_file()), None)
