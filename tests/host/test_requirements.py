"""Installing requirements.txt into a working host must change nothing that is there."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from hosts import REPOSITORY, Host, host_environment


def _pip(host: Host, *arguments: str) -> subprocess.CompletedProcess:
    command = [str(host.python), "-m", "pip", *arguments]
    return subprocess.run(command, env=host_environment(), capture_output=True, text=True, timeout=600, check=False)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.slow
def test_install_changes_no_installed_version(host: Host, tmp_path: Path):
    listed = _pip(host, "list", "--format=json")
    if listed.returncode:
        pytest.skip(f"{host.python} has no pip: {listed.stderr.strip()[-300:]}")
    installed = {_plain(entry["name"]): entry["version"] for entry in json.loads(listed.stdout)}
    report = tmp_path / "report.json"
    requirements = REPOSITORY / "requirements.txt"
    tried = _pip(host, "install", "--dry-run", "--quiet", "--report", str(report), "-r", str(requirements))
    if tried.returncode and "ResolutionImpossible" not in tried.stderr:
        pytest.skip(f"pip could not look packages up: {tried.stderr.strip()[-300:]}")
    assert tried.returncode == 0, tried.stderr
    planned = json.loads(report.read_text(encoding="utf-8"))["install"]
    wanted = {_plain(item["metadata"]["name"]): item["metadata"]["version"] for item in planned}
    changed = {name: (installed[name], version) for name, version in wanted.items() if name in installed}
    assert changed == {}, "name: (installed, would become)"


def test_requirements_are_floors_only():
    lines = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = []
    for line in lines:
        if line and not line.startswith("#"):
            found = re.fullmatch(r"([A-Za-z0-9_.-]+)(>=[0-9.]+)?", line)
            assert found, f"only a name and a floor are allowed: {line}"
            names.append(_plain(found[1]))
    assert not {"torch", "torchvision", "torchaudio"} & set(names), "torch belongs to the host"
