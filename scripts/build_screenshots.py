"""Take the screenshots of the timeline and of the nodes in the front end of a real ComfyUI.

    python scripts/build_screenshots.py            docs/figures/timeline_{classic,nodes2}_{dark,light}.png
    python scripts/build_screenshots.py --nodes    web/docs/<NodeId>/node.png
Needs a ComfyUI (COMFYUI_PATH), Node.js, Chromium, and `npm install` in tests/web. The newest ComfyUI found is used.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "host")]

from frontend import run_node  # noqa: E402
from hosts import HOW_TO_POINT, find_hosts  # noqa: E402
from server import HostServer  # noqa: E402

SCRIPT = ROOT / "scripts" / "screenshots.mjs"
FIGURES = ROOT / "docs" / "figures"
PAGES = ROOT / "web" / "docs"
# Largest size of a help page's screenshot, in bytes.
LIMIT = 60 * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", action="store_true", help="the screenshots of the help pages instead")
    nodes = parser.parse_args().nodes
    hosts, missed = find_hosts()
    if not hosts:
        sys.exit(" ".join(["No ComfyUI found.", *missed, HOW_TO_POINT]))
    newest = max(hosts, key=lambda host: [int(part) for part in host.version.split(".") if part.isdigit()])
    with HostServer(newest) as server:
        jobs = {"nodes": node_jobs(server)} if nodes else {"timelines": str(FIGURES)}
        printed = run_node(SCRIPT, server.url, text=json.dumps(jobs))
    files = [Path(line) for line in printed.splitlines()]
    for file in files:
        print(f"{file} ({file.stat().st_size} bytes)")
    if large := [file for file in files if nodes and file.stat().st_size > LIMIT]:
        sys.exit(f"More than {LIMIT} bytes: {', '.join(map(str, large))}")


def node_jobs(server: HostServer) -> list[dict[str, str]]:
    """One screenshot request for every node of the pack; each has a help page."""
    ids = [node_id for node_id in server.object_info() if node_id.startswith("LuminaVideo")]
    return [{"type": node_id, "screenshot": str(PAGES / node_id / "node.png")} for node_id in sorted(ids)]


if __name__ == "__main__":
    main()
