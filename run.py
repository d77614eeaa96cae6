"""Set up and try Lumina-Video with nothing but Python: `python run.py demo` makes a video, `python run.py test` tests.

Both set up `.venv` beside this file on first use. Works from any folder on Linux, macOS and Windows.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
DEMO = ROOT / ".demo"
# Three packages that only work in matching versions.
TORCH = ["torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0"]
SUITES = ("lint", "core", "host", "web", "package")
HOW_TO_POINT = (
    "To run the host tests, set COMFYUI_PATH to a ComfyUI folder (several: joined by "
    f"'{os.pathsep}') and, unless it has its own .venv, COMFYUI_PYTHON to its Python."
)


def main() -> int:
    if sys.version_info < (3, 10):  # noqa: UP036 - the one file that an older Python gets to run
        print(f"Python {sys.version.split()[0]} is too old: run this with Python 3.10 or later.")
        return 1
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "demo",
        help="make an mp4 from a prompt with the bundled models; further arguments (--prompt, --motion, "
        "--seed, --out ...) go to `python -m lumina_core demo`",
    )
    test = commands.add_parser("test", help="lint and run all tests, or the named suites")
    test.add_argument("suites", nargs="*", metavar=f"{{{','.join(SUITES)}}}", help="default: all of them")
    test.add_argument("--slow", action="store_true", help="run the slow tests too, as CI does")
    test.add_argument("-j", "--jobs", type=int, help="how many suites run side by side; default: one more than cores")
    arguments, rest = parser.parse_known_args()
    if arguments.command == "demo":
        return demo(rest)
    unknown = set(arguments.suites) - set(SUITES)
    if unknown or rest:
        parser.error(f"unknown: {' '.join([*sorted(unknown), *rest])}; the suites are {', '.join(SUITES)}")
    if arguments.jobs is not None and arguments.jobs < 1:
        parser.error(f"--jobs is {arguments.jobs}; give 1 or more")
    return test_suites(
        [suite for suite in SUITES if suite in arguments.suites] or list(SUITES), arguments.jobs, arguments.slow
    )


def demo(extra: list[str]) -> int:
    """Make one video with the bundled models; `extra` overrides. The last line printed is the video's path."""
    python = set_up([ROOT / "requirements.txt"])
    outs = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    outs.add_argument("--out", type=Path, default=DEMO / "demo.mp4")
    known, extra = outs.parse_known_args(extra)
    out = known.out.absolute()
    if known.out.parent == DEMO:
        DEMO.mkdir(exist_ok=True)
    return run([python, "-m", "lumina_core", "demo", "--out", out, *extra])


def test_suites(names: list[str], jobs: int | None, slow: bool) -> int:
    """Run the suites side by side; the last lines say what was left out, failed and passed, as in pytest."""
    from scripts.suites import cores, last_summary, run_side_by_side, skips, suite_of

    start = time.monotonic()
    python = set_up([ROOT / "requirements.txt", ROOT / "requirements-dev.txt"])
    if {"host", "web"} & set(names):
        set_up_page_tools()
    suites = [suite_of(name, python, slow) for name in names]
    # One more than cores: suites often wait.
    outcomes = run_side_by_side(suites, jobs or cores() + 1, test_environment())
    counts = {"failed": 0, "passed": 0, "skipped": 0, "error": 0}
    notes = []
    print()
    for outcome in outcomes:
        name = outcome.suite.name
        summary = last_summary(outcome.output) if name != "lint" else ""
        for number, word in re.findall(r"(\d+) (failed|passed|skipped|error)s?\b", summary):
            counts[word] += int(number)
        notes += [f"{name}: {line}" for line in skips(outcome.output)]
        if outcome.suite.reason:
            notes.append(f"{name}: skipped, {outcome.suite.reason}")
        for text in outcome.failures:
            say(f"== {name} failed ==\n{text}")
    if not slow:
        notes.append("Slow tests were left out; python run.py test --slow runs them too, as CI does.")
    for note in notes:
        print(note)
    if any("needs a ComfyUI" in note for note in notes):
        print(HOW_TO_POINT)
    failed = [outcome.suite.name for outcome in outcomes if outcome.failures]
    if failed:
        print(f"Failed: {', '.join(failed)}")
    parts = [f"{number} {word}" for word, number in counts.items() if number]
    text = f" {', '.join(parts) or 'nothing to test'} in {time.monotonic() - start:.2f}s "
    print(text.center(100, "="))
    return 1 if failed else 0


def set_up(requirements: list[Path]) -> Path:
    """Make `.venv` hold torch and the packages in `requirements`; returns its Python. At once when it already does."""
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = {"torch": TORCH, **{path.name: path.read_text(encoding="utf-8") for path in requirements}}
    key = hashlib.sha256(json.dumps([wanted, sys.version]).encode()).hexdigest()
    stamp = VENV / "lumina-setup.json"
    done = json.loads(stamp.read_text(encoding="utf-8")) if stamp.exists() else []
    if key in done and python.exists():
        return python
    if not works(python):
        say(f"Making {VENV}")
        check([sys.executable, "-m", "venv", "--clear", VENV])
    say("Installing torch and the other packages into it; the first time this downloads a few gigabytes.")
    lists = [word for path in requirements for word in ("-r", path)]
    check([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *TORCH, *lists])
    # Written last, so that an interrupted set-up is taken up again.
    part = stamp.with_suffix(".part")
    part.write_text(json.dumps([*done, key]), encoding="utf-8")
    part.replace(stamp)
    return python


def set_up_page_tools() -> None:
    """What the tests of the page need from npm, where npm is; without it those tests are skipped and say so."""
    folder = ROOT / "tests" / "web"
    npm = shutil.which("npm")
    wanted = (folder / "package.json").read_text(encoding="utf-8")
    stamp = folder / "node_modules" / "lumina-setup.json"
    if npm is None or (stamp.exists() and stamp.read_text(encoding="utf-8") == wanted):
        return
    say("Installing what the tests of the page need.")
    quiet = ["--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
    if run([npm, "install", "--prefix", folder, *quiet]) == 0:
        stamp.write_text(wanted, encoding="utf-8")


def works(python: Path) -> bool:
    """Whether the venv's Python runs, is new enough and has pip (a broken or half-made one does not)."""
    test = "import pip, sys; sys.exit(sys.version_info < (3, 10))"
    try:
        return subprocess.run([str(python), "-c", test], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def run(command: list[str | Path]) -> int:
    """Run in the caller's folder, with this repository importable; returns the exit code."""
    return subprocess.run([str(word) for word in command], env=environment(), check=False).returncode


def check(command: list[str | Path]) -> None:
    """Run; ends this program with the command's own exit code when it fails."""
    if code := run(command):
        words = " ".join(str(word) for word in command)
        print(f"This failed with exit code {code}; run it again once the cause above is gone: {words}")
        sys.exit(code)


def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"}


def test_environment() -> dict[str, str]:
    # The models of the tests are so small that threads mostly wait for one another.
    return {"OMP_NUM_THREADS": "1", **environment()}


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
