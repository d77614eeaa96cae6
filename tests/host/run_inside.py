"""Run checks inside a host's own Python, with the pack imported as the host imports it.

A check is a script that defines `main(*args) -> dict`; it is called in the host's folder, on the CPU, under
`torch.inference_mode` (as the host runs nodes), and can import the host's modules and the pack as
`lumina_video_under_test`.

In pytest: `worker(script, *args)`, with the fixture of that name, which imports the host once. For one check in a
process of its own: `run_inside(host, script, *args)`, where `flags` go to the host's own command line beside `--cpu`.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import traceback
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hosts import Host

SCRIPTS = Path(__file__).absolute().with_name("inside")
# What follows it on this script's command line is the host's.
FLAGS = "--host-flags"
# In place of a script: take checks from standard input until it ends.
SERVE = "--serve"


def run_inside(host: Host, script: str, *args: str | Path, timeout: float = 300, flags: tuple[str, ...] = ()) -> dict:
    """What `main` of inside/<script> returned; AssertionError with its output if it failed."""
    from hosts import host_environment

    command = [str(host.python), __file__, str(SCRIPTS / script), *map(str, args), FLAGS, *flags]
    done = subprocess.run(
        command, cwd=host.path, env=host_environment(), capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    return json.loads(done.stdout.strip().splitlines()[-1])


class Worker:
    """`with Worker(host, folder) as worker:` runs one process of the host, which forks for every check.

    `probe` is what importing the pack did there: see probe_pack.py. `folder` takes what the checks print and answer.
    Where a process cannot fork, every check gets a process of its own.
    """

    def __init__(self, host: Host, folder: Path):
        self.host = host
        self._folder = folder

    def __enter__(self) -> Worker:
        from hosts import host_environment

        command = [str(self.host.python), __file__, SERVE, FLAGS]
        with (self._folder / "worker.log").open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=self.host.path, env=host_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=log, text=True, encoding="utf-8",
            )  # fmt: skip
        self.probe: dict = self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __call__(self, script: str, *args: str | Path, timeout: int = 300) -> dict:
        """What `main` of inside/<script> returned; AssertionError with its output if it failed."""
        if not hasattr(os, "fork"):
            return run_inside(self.host, script, *args, timeout=timeout)
        files = {name: str(self._folder / f"{uuid.uuid4().hex}.{name}") for name in ("answer", "log")}
        task = {"script": str(SCRIPTS / script), "args": [str(arg) for arg in args], "timeout": timeout, **files}
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        status = self._answer()
        assert status == 0, f"{script} ended with {status}:\n{Path(files['log']).read_text(errors='replace')[-8000:]}"
        return json.loads(Path(files["answer"]).read_text(encoding="utf-8"))

    def _answer(self):
        line = self._process.stdout.readline()
        assert line, (self._folder / "worker.log").read_text(encoding="utf-8", errors="replace")[-6000:]
        return json.loads(line)


def main() -> None:
    split = sys.argv.index(FLAGS)
    (script, *args), flags = sys.argv[1:split], sys.argv[split + 1 :]
    from probe_pack import import_pack

    # The host's folder in place of this one: both have modules with common names.
    sys.path[0] = str(Path.cwd())
    sys.argv = [sys.argv[0], "--cpu", *flags]
    answers = sys.stdout
    if script == SERVE:
        # What the host prints must not come between the answers.
        sys.stdout = sys.stderr
    probe = import_pack()
    import torch

    torch.set_num_threads(1)
    if script != SERVE:
        print(json.dumps(check(script, args)))
        return
    print(json.dumps(probe), file=answers, flush=True)
    for line in sys.stdin:
        print(_forked(json.loads(line)), file=answers, flush=True)


def check(script: str, args: list[str]) -> dict:
    import torch

    with torch.inference_mode():
        return runpy.run_path(script)["main"](*args)


def _forked(task: dict) -> int:
    """Run a check in a child of this process; its exit code, negative for the signal that ended it."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(task["timeout"])
            log = os.open(task["log"], os.O_WRONLY | os.O_CREAT)
            for stream in (1, 2):
                os.dup2(log, stream)
            answer = json.dumps(check(task["script"], task["args"]))
            Path(task["answer"]).write_text(answer, encoding="utf-8")
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            # Not `sys.exit`: nothing of the parent's is to be closed or run here.
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    main()
