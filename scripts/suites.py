"""The test suites of `python run.py test`, and how they run side by side. Standard library only."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The order in which suites start: the short one first, for an early result, then the long ones.
STARTING_ORDER = ("lint", "host", "core", "package", "web")
# Each worker needs about 1 GB, for torch and a few models.
MOST_WORKERS = 8
# Number of lines repeated at the end for a failed command that names no tests.
LAST_LINES = 40

Command = Sequence["str | Path"]


@dataclass(frozen=True)
class Suite:
    """Commands that all run one after another, or the reason why there are none.

    Args:
        name: one of `STARTING_ORDER`.
        commands: those that have to succeed.
        reason: why there are no commands.
        urgent: whether it waits for servers and pages, and so has priority if there are few cores.
    """

    name: str
    commands: Sequence[Command] = ()
    reason: str = ""
    urgent: bool = False


@dataclass
class Outcome:
    """The output of a suite, and the last lines of its failed commands."""

    suite: Suite
    output: str = ""
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0


def suite_of(name: str, python: Path, slow: bool) -> Suite:
    """The suite with a name of `STARTING_ORDER`.

    Args:
        name: of the suite.
        python: an interpreter with the requirements installed.
        slow: whether tests that are marked slow run too.
    """
    pytest = [python, "-m", "pytest", "-c", ROOT / "pyproject.toml", *([] if slow else ["-m", "not slow"])]
    tests = ROOT / "tests"
    if name == "lint":
        return _lint(python)
    if name == "core":
        # Workers get whole files, so that fixtures of a file are built once; conftest.py puts slow files first.
        spread = ["-n", str(min(cores(), MOST_WORKERS)), "--dist", "loadfile", "--no-loadscope-reorder"]
        return Suite(name, [[*pytest, *spread, tests / "core"]])
    if name == "host":
        # "auto" is a worker for each ComfyUI found, with its own server, and one for tests in a browser (conftest.py).
        return Suite(name, [[*pytest, "-n", "auto", tests / "host"]], urgent=True)
    if name == "web":
        return _web()
    if not (tests / name).is_dir():
        return Suite(name, reason=f"there is no tests/{name}")
    return Suite(name, [[*pytest, tests / name]])


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_side_by_side(suites: Sequence[Suite], jobs: int, environment: dict[str, str]) -> list[Outcome]:
    """Run at most ``jobs`` suites at a time and print their output live; outcomes in the order of ``suites``."""
    shown = threading.Lock()
    alone = len(suites) == 1

    def start(suite: Suite) -> Outcome:
        prefix = "" if alone else f"{suite.name:>7} | "
        return _run(suite, environment, lambda line: _show(prefix + line, shown))

    first = sorted(suites, key=lambda suite: STARTING_ORDER.index(suite.name))
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        running = {suite.name: pool.submit(start, suite) for suite in first}
        return [running[suite.name].result() for suite in suites]


def skips(output: str) -> list[str]:
    """pytest's list of skipped tests, or Node's, one line per reason."""
    numbers: dict[str, int] = {}
    for number, reason in re.findall(r"^SKIPPED \[(\d+)\] [^ ]+: (.+)$", output, re.MULTILINE):
        numbers[reason] = numbers.get(reason, 0) + int(number)
    for reason in re.findall(r"^\s*﹣ .+ \([\d.]+ms\) # (.+)$", output, re.MULTILINE):
        numbers[reason] = numbers.get(reason, 0) + 1
    return [f"{number} skipped: {reason}" for reason, number in numbers.items()]


def last_summary(output: str) -> str:
    """The line with the test counts, in pytest's wording also for Node."""
    node = {word: re.findall(rf"^\W*{word} (\d+)$", output, re.MULTILINE) for word in ("pass", "fail", "skipped")}
    if node["pass"] and node["fail"]:
        wording = {"pass": "passed", "fail": "failed", "skipped": "skipped"}
        return ", ".join(f"{found[-1]} {wording[word]}" for word, found in node.items() if found)
    lines = [line for line in output.splitlines() if re.search(r"\d+ (failed|passed|skipped|error)", line)]
    return lines[-1] if lines else ""


def _lint(python: Path) -> Suite:
    pages = sorted(path.name for path in ROOT.glob("*.md"))
    texts = [*pages, "docs", "lumina_core", "nodes", "scripts", "locales/en", "web"]
    return Suite(
        "lint",
        commands=[
            [python, "-m", "ruff", "check", "."],
            [python, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache"],
            [python, "-m", "codespell_lib", *texts],
            [python, "scripts/check_wording.py"],
            [python, "-m", "mkdocs", "build", "--quiet"],
            [python, "-m", "pyright", "--pythonpath", python],
        ],
    )


def _web() -> Suite:
    files = sorted((ROOT / "tests" / "web").glob("*.test.mjs"))
    node = shutil.which("node")
    if node is None or _node_version(node) < 20:
        reason = "Node.js 20 or later is not installed; install it from nodejs.org to test the page's scripts"
        return Suite("web", reason=reason)
    return Suite("web", [[node, "--test", "--test-reporter=spec", *files]])


def _node_version(node: str) -> int:
    """The major version of Node.js; 0 if it does not start."""
    try:
        answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return 0
    found = re.match(r"v(\d+)", answer)
    return int(found[1]) if found else 0


def _run(suite: Suite, environment: dict[str, str], show) -> Outcome:
    outcome, start = Outcome(suite), time.monotonic()
    for command in suite.commands:
        code, output = _run_command(_with_priority(command, suite), environment, show)
        outcome.output += output
        if code:
            outcome.failures.append(_what_failed(command, output))
    outcome.seconds = time.monotonic() - start
    if suite.commands:
        show(f"done in {outcome.seconds:.0f} s\n")
    return outcome


def _run_command(command: Command, environment: dict[str, str], show) -> tuple[int, str]:
    """Run, show each line as it comes, and return the exit code and the output."""
    lines = []
    with subprocess.Popen(
        [str(word) for word in command],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            show(line)
            lines.append(line)
    return process.returncode, "".join(lines)


def _with_priority(command: Command, suite: Suite) -> Command:
    """Lower the priority of suites that do not wait for pages."""
    nice = None if suite.urgent else shutil.which("nice")
    return [nice, "-n", "5", *command] if nice else command


def _what_failed(command: Command, output: str) -> str:
    """Names of the failed tests as pytest prints them, else the last lines."""
    lines = output.splitlines()
    tests = [line for line in lines if re.match(r"(FAILED|ERROR) ", line)]
    return "\n".join(tests or [" ".join(str(word) for word in command), *lines[-LAST_LINES:]])


def _show(line: str, lock: threading.Lock) -> None:
    with lock:
        print(line if line.endswith("\n") else line + "\n", end="", flush=True)
