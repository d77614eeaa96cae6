"""Script per pointer move while a boundary of the timeline is dragged, in every ComfyUI found and both its renderers.

    python benchmarks/timeline.py
Prints a table and, as the last line, the same figures as JSON. Needs Chromium and `npm install` in tests/web.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "host"))

from frontend import run_node  # noqa: E402
from hosts import HOW_TO_POINT, find_hosts  # noqa: E402
from server import HostServer  # noqa: E402
from test_timeline import has_nodes2  # noqa: E402

SCRIPT = Path(__file__).with_suffix(".mjs")
SCRIPTS = ROOT / "web" / "js"


def main() -> None:
    hosts, missed = find_hosts()
    if not hosts:
        sys.exit(" ".join(["No ComfyUI found.", *missed, HOW_TO_POINT]))
    rows = []
    print("ms per pointer move, median (worst), 8 segments, 100 moves")
    print(f"{'ComfyUI':<12}{'renderer':<10}{'handlers':>16}{'all scripts':>18}{'ours, mean':>12}{'idle calls':>12}")
    for host in hosts:
        with HostServer(host) as server:
            for mode in ["classic", "nodes2"] if has_nodes2(host) else ["classic"]:
                row = json.loads(run_node(SCRIPT, server.url, mode).splitlines()[-1])
                rows.append({"comfyui": host.version, "renderer": mode, **row})
                handlers, scripts = (f"{row[k]['median']} ({row[k]['max']})" for k in ("handlers", "scripts"))
                line = (
                    f"{host.version:<12}{mode:<10}{handlers:>16}{scripts:>18}{row['ours']:>12}{row['idle_calls']:>12}"
                )
                print(line, flush=True)
    size = sum(file.stat().st_size for file in SCRIPTS.rglob("*") if file.is_file())
    print(f"scripts and styles: {size} bytes")
    print(json.dumps({"bytes": size, "drags": rows}))


if __name__ == "__main__":
    main()
