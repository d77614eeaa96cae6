"""Ask a running host's real front end to build, open and convert graphs, through scripts/frontend.mjs."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from hosts import REPOSITORY

# The exit code with which the script says that playwright-core or Chromium is not there.
NOT_THERE = 3


class FrontendMissing(RuntimeError):
    """Node.js, playwright-core or Chromium is not installed; the text says which and how to get it."""


def run_frontend(url: str, jobs: list[dict], timeout: float = 600) -> list[dict]:
    """One result per job, both as in the head of scripts/frontend.mjs; raises FrontendMissing."""
    return json.loads(run_node(REPOSITORY / "scripts" / "frontend.mjs", url, text=json.dumps(jobs), timeout=timeout))


def run_node(script: Path, *arguments: str, text: str = "", timeout: float = 600) -> str:
    """What a script that drives the front end prints; raises FrontendMissing."""
    done = subprocess.run(
        [_node(), str(script), *arguments],
        input=text,
        env={**os.environ, "LUMINA_BROWSER": _browser()},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )
    if done.returncode == NOT_THERE:
        raise FrontendMissing(done.stderr.strip())
    if done.returncode:
        raise RuntimeError(done.stderr[-4000:])
    return done.stdout


def _node() -> str:
    node = shutil.which("node")
    if node is None:
        raise FrontendMissing("Node.js is not installed: get it from nodejs.org.")
    return node


@cache
def _browser() -> str:
    """The address of a browser that lasts as long as this process: starting one takes longer than most scripts."""
    command = [_node(), str(REPOSITORY / "scripts" / "shared_browser.mjs")]
    pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    process = subprocess.Popen(command, text=True, encoding="utf-8", **pipes)
    if address := process.stdout.readline().strip():
        atexit.register(process.communicate)
        return address
    _, error = process.communicate()
    raise (FrontendMissing if process.returncode == NOT_THERE else RuntimeError)(error.strip()[-4000:])


def same_prompt(wanted: dict[str, dict], found: dict[str, dict]) -> list[str]:
    """How an API-format prompt that the front end made differs from the wanted one; empty when it does not.

    Inputs that only the found one has are defaults of a newer host, and no difference. Nor is a value that a newer host
    keeps under another input: SaveVideo's `codec` became `format.codec`.
    """
    if {key: node["class_type"] for key, node in wanted.items()} != {k: n["class_type"] for k, n in found.items()}:
        return [f"nodes {sorted(wanted)} became {sorted(found)}, or changed their types"]
    differences = []
    for key, node in wanted.items():
        inputs = found[key]["inputs"]
        for name, value in node["inputs"].items():
            values = [inputs[other] for other in inputs if other == name or other.endswith(f".{name}")]
            if value not in values:
                differences.append(f"node {key} ({node['class_type']}): {name} is {values}, not {value!r}")
    return differences
