"""Seconds that importing the pack adds to a host's start, in fresh processes after the host's own imports.

    python benchmarks/import_time.py [RUNS]
Prints a table and, as the last line, the same figures as JSON.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "host"))

from hosts import HOW_TO_POINT, Host, find_hosts, host_environment  # noqa: E402


def measure(host: Host, runs: int) -> list[float]:
    """Import times of `runs` fresh processes, in seconds; one more goes before them to fill the file cache."""
    seconds = []
    for _ in range(runs + 1):
        script = ROOT / "tests" / "host" / "probe_pack.py"
        command = [str(host.python), str(script)]
        done = subprocess.run(
            command, cwd=host.path, env=host_environment(), check=True, capture_output=True, text=True
        )
        seconds.append(json.loads(done.stdout.strip().splitlines()[-1])["seconds"])
    return seconds[1:]


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    hosts, missed = find_hosts()
    if not hosts:
        sys.exit(" ".join(["No ComfyUI found.", *missed, HOW_TO_POINT]))
    rows = []
    print(f"{'ComfyUI':<12}{'median s':>10}{'worst s':>10}{'runs':>6}")
    for host in hosts:
        seconds = measure(host, runs)
        row = {"host": host.version, "median_s": statistics.median(seconds), "worst_s": max(seconds), "runs": runs}
        rows.append(row)
        print(f"{row['host']:<12}{row['median_s']:>10.3f}{row['worst_s']:>10.3f}{runs:>6}")
    print(json.dumps({"import_time": rows}))


if __name__ == "__main__":
    main()
