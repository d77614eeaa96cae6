"""What a run costs in ComfyUI over the bare core loop: `python -m benchmarks.host_overhead`.

Both in one process of the host's Python, interleaved: same weights (random, width 512, 6 layers), noise, plan, float32
and threads. The bare loop is `lumina_core.sample` with torch's attention; the others are the host's own nodes with our
MODEL, the loader's wrappers included, without a server, so messages to a page do not count. Measured with the attention
that the host chooses and with torch's (`--use-pytorch-cross-attention`), which separates the loop's cost from the
kernel's. Needs a ComfyUI; without one the error says how to name it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "host"))

from hosts import HOW_TO_POINT, find_hosts  # noqa: E402 - found through the line above
from run_inside import run_inside  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from benchmarks.common.harness import make_parser, progress, run  # noqa: E402
from lumina_core import MultiScaleNextDiT  # noqa: E402
from lumina_core.network.config import VideoConfig  # noqa: E402
from scripts.make_tiny_set import random_weights  # noqa: E402

MID = VideoConfig(dim=512, layers=6, heads=8, kv_heads=8, ffn_hidden=1536, text_dim=512, cond_dim=512)
LATENT = (8, 32, 48)
CORE, CUSTOM, PREVIEWS, KSAMPLER = "core loop", "SamplerCustomAdvanced", "with previews", "KSampler"
TEXT, SHORT = 128, 28
HEADLINE = "multi-scale"
CASES = {
    HEADLINE: {
        "plan": {"patch": "2x4 | 0.35: 2x2 | 0.75: 1x2", "guidance": "4 | 0.55: 0", "points": 6},
        "texts": [TEXT, TEXT], "kinds": [CORE, CUSTOM, PREVIEWS, KSAMPLER],
    },
    "multi-scale, short negative": {
        "plan": {"patch": "2x4 | 0.35: 2x2 | 0.75: 1x2", "guidance": "4 | 0.55: 0", "points": 6},
        "texts": [TEXT, SHORT], "kinds": [CORE, CUSTOM],
    },
    "2x4, guided": {"plan": {"patch": "2x4", "guidance": 4, "points": 9}, "texts": [TEXT] * 2, "kinds": [CORE, CUSTOM]},
    "2x4": {"plan": {"patch": "2x4", "points": 13}, "texts": [TEXT] * 2, "kinds": [CORE, CUSTOM]},
    "2x2": {"plan": {"patch": "2x2", "points": 4}, "texts": [TEXT] * 2, "kinds": [CORE, CUSTOM]},
    "1x2": {"plan": {"patch": "1x2", "points": 3}, "texts": [TEXT] * 2, "kinds": [CORE, CUSTOM]},
}  # fmt: skip
TORCH_ATTENTION = "--use-pytorch-cross-attention"


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__, threads=2)
    parser.add_argument("--rounds", type=int, default=5, help="quiet rounds wanted per row (default %(default)s)")
    parser.add_argument("--tries", type=int, default=8, help="rounds at most per row (default %(default)s)")
    parser.add_argument("--cpu-time", action="store_true", help="CPU time of one thread: for a busy machine")
    parser.add_argument("--case", action="append", choices=CASES, help="only this run; may be given again")
    parser.add_argument("--torch-attention-only", action="store_true", help="leave out the host's own choice")
    return parser.parse_args()


def write_checkpoint(folder: Path) -> Path:
    """The mid-size network with seeded weights, as one file."""
    with torch.device("meta"):
        shapes = MultiScaleNextDiT(MID).state_dict()
    file = folder / "mid.safetensors"
    save_file(random_weights(shapes, 0), file)
    return file


def measure(args: argparse.Namespace) -> dict:
    hosts, missed = find_hosts()
    if not hosts:
        raise SystemExit(" ".join([*missed, HOW_TO_POINT]))
    options = {
        "cases": {name: CASES[name] for name in args.case or CASES},
        "latent": LATENT, "seed": 7, "threads": 1 if args.cpu_time else args.threads,
        "cpu_time": args.cpu_time, "rounds": args.rounds, "tries": args.tries,
    }  # fmt: skip
    script, rows = str(Path(__file__).with_name("host_loop.py")), []
    with tempfile.TemporaryDirectory() as name:
        checkpoint = write_checkpoint(Path(name))
        for host in hosts:
            for flags in ((TORCH_ATTENTION,),) if args.torch_attention_only else ((TORCH_ATTENTION,), ()):
                report = run_inside(host, script, checkpoint, name, json.dumps(options), timeout=1800, flags=flags)
                rows += [{"host": host.version, "attention": report["attention"], **row} for row in report["rows"]]
                progress(f"ComfyUI {host.version}, {report['attention']}")
    return {"rows": rows, "threads": options["threads"], "cpu_time": args.cpu_time}


if __name__ == "__main__":
    run("host_overhead", parse_arguments(), measure)
