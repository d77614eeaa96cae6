"""Run a check inside a host's own Python, with the pack imported as the host imports it.

In pytest: `run_inside(host, script, *args)`. The script defines `main(*args) -> dict`; it is called in the host's
folder, on the processor, under `torch.inference_mode` (as the host runs nodes), and can import the host's modules and
the pack as `lumina_video_under_test`. `flags` go to the host's own command line beside `--cpu`.
"""

from __future__ import annotations

import importlib.util
import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hosts import Host

PACK = "lumina_video_under_test"
SCRIPTS = Path(__file__).absolute().with_name("inside")


FLAGS = "--host-flags"
"""What follows it on this script's command line is the host's."""


def run_inside(host: Host, script: str, *args: str | Path, timeout: float = 300, flags: tuple[str, ...] = ()) -> dict:
    """What `main` of inside/<script> returned; AssertionError with its output if it failed."""
    from hosts import host_environment

    command = [str(host.python), __file__, str(SCRIPTS / script), *map(str, args), FLAGS, *flags]
    done = subprocess.run(
        command, cwd=host.path, env=host_environment(), capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    split = sys.argv.index(FLAGS)
    (script, *args), flags = sys.argv[1:split], sys.argv[split + 1 :]
    # The host's folder in place of this one: both have modules with common names.
    sys.path[0] = str(Path.cwd())
    sys.argv = [sys.argv[0], "--cpu", *flags]
    import comfy.options

    # Before any other import of the host: a torch built for CUDA fails there without a GPU.
    comfy.options.enable_args_parsing()
    import torch

    torch.set_num_threads(1)
    root = Path(__file__).absolute().parents[2]
    spec = importlib.util.spec_from_file_location(PACK, root / "__init__.py", submodule_search_locations=[str(root)])
    pack = importlib.util.module_from_spec(spec)
    sys.modules[PACK] = pack
    spec.loader.exec_module(pack)
    check = runpy.run_path(script)["main"]
    with torch.inference_mode():
        report = check(*args)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
