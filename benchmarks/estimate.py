"""How well the time of a run is foretold, in a real ComfyUI: `python benchmarks/estimate.py --write docs/results.md`.

Five runs of the mini model are remembered. Then the plan route foretells other schedules and sizes, and each is run.
Prints a table for people and, as its last line, the same figures as one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "host")]

from audio_parts.section import write_section  # noqa: E402
from graphs import Graph  # noqa: E402 - found through the line above
from hosts import HOW_TO_POINT, find_hosts  # noqa: E402
from server import HostServer  # noqa: E402
from tables.sections import prose, table  # noqa: E402

MODEL = {"model_name": "mini (bundled)", "weight_dtype": "fp32"}
BASE = {"preset": "mini-MultiScale", "width": 64, "height": 64, "frames": 32, "points": 13, "solver": "euler"}
LEARNT = (
    {},
    {"patch": "1x2", "points": 7},
    {"width": 96, "patch": "2x2", "points": 9},
    {"frames": 16, "guidance": "4"},
    {"patch": "2x4 | 0.3: 2x2", "guidance": "0"},
)
FORETOLD = (
    {"points": 20},
    {"patch": "2x4 | 0.2: 1x2"},
    {"patch": "2x2", "guidance": "4"},
    {"width": 128, "height": 64},
    {"width": 96, "height": 96, "points": 9},
    {"width": 128, "height": 128, "points": 7},
    {"frames": 48},
    {"frames": 8, "patch": "1x2"},
    {"solver": "heun2", "points": 9},
    {"width": 96, "patch": "1x2", "guidance": "0", "points": 9},
)
SECTION = "estimate"
BOUND = 0.2
INTRODUCTION = (
    "Written by the command below. Five runs of the mini model are remembered, then the page's plan route foretells "
    "the seconds of other schedules and sizes, and each is run by the all-in-one node with remembering off. The error "
    "is the difference over the measured seconds. The target is a median of at most 20 %."
)


def post(server: HostServer, path: str, body: dict) -> dict:
    url = f"{server.url}/lumina-video/{path}"
    request = urllib.request.Request(url, data=json.dumps(body).encode())  # noqa: S310 - our own server
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.loads(answer.read())


def seconds(server: HostServer, fields: dict, seed: int) -> float:
    """What one run took, as the host tells the page."""
    graph = Graph()
    node = graph.ours(
        "MultiScaleSampler", model=graph.model(MODEL["model_name"])[0], clip=graph.clip(MODEL["model_name"])[0],
        prompt="a red circle moves right", negative_prompt="", seed=seed, **fields,
    )  # fmt: skip
    graph.save_latent(node[0])
    messages = server.prompt(graph.api).messages
    return next(m["data"]["seconds"] for m in messages if m["type"] == "lumina-video.result")


def measure(server: HostServer) -> list[dict]:
    """One row for each run that was foretold."""
    for seed, change in enumerate(LEARNT):
        seconds(server, {**BASE, **change}, seed)
    past = post(server, "timings", {"remember": False})["runs"]
    if past != len(LEARNT):
        raise SystemExit(f"{past} runs are remembered, expected {len(LEARNT)}.")
    rows = []
    for seed, change in enumerate(FORETOLD, start=100):
        fields = {**BASE, **change}
        found = post(server, "plan", {"fields": {**fields, **MODEL}})["estimate"]
        took = [seconds(server, fields, seed + 1000 * again) for again in range(2)]
        taken = sum(took) / 2
        rows.append({
            "change": ", ".join(f"{name} {value}" for name, value in change.items()),
            "exact": found["exact"], "foretold": found["seconds"], "seconds": taken,
            "error": abs(found["seconds"] - taken) / taken, "spread": abs(took[0] - took[1]) / taken,
        })  # fmt: skip
    return rows


def document(result: dict) -> str:
    """The section of the results document."""
    head = ["run", "shapes", "foretold, s", "measured, s", "error", "spread of two runs"]
    rows = [
        [r["change"].replace("|", "\\|"), "known" if r["exact"] else "scaled", f"{r['foretold']:.2f}",
         f"{r['seconds']:.2f}", f"{100 * r['error']:.0f} %", f"{100 * r['spread']:.0f} %"]
        for r in result["rows"]
    ]  # fmt: skip
    noise = (
        f"ComfyUI {result['host']} on the processor, one thread. Median error {100 * result['median_error']:.1f} %, "
        f"of {100 * result['largest_error']:.1f} % at most. Every run is measured twice; the two differ by "
        f"{100 * result['median_spread']:.1f} % in the median, which no estimate can be better than."
    )
    parts = [prose(INTRODUCTION), "`python benchmarks/estimate.py --write docs/results.md`", table(head, rows)]
    return "\n\n".join(["## Estimated seconds", *parts, prose(noise)])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--write", type=Path, help="put the section into this document")
    given = arguments.parse_args()
    hosts, missed = find_hosts()
    if not hosts:
        raise SystemExit(" ".join([*missed, HOW_TO_POINT]))
    with HostServer(hosts[0]) as server:
        rows = measure(server)
    errors = [row["error"] for row in rows]
    result = {
        "host": hosts[0].version,
        "runs": len(LEARNT),
        "median_error": median(errors),
        "largest_error": max(errors),
        "median_spread": median(row["spread"] for row in rows),
        "met": median(errors) <= BOUND,
        "rows": rows,
    }
    text = document(result)
    print(text)
    if given.write:
        write_section(given.write, text, SECTION)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
