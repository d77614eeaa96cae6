"""Put the newest figures into the tables of the documents.

    python -m benchmarks.render            # rewrite every table between its markers
    python -m benchmarks.render --check    # exit code 1 where a document differs from the results

A document holds `<!-- table: NAME -->`, the table, and `<!-- end -->`. The figures are those of the newest line of
`benchmarks/results/*.jsonl`; sentences around a table are written by people. Needs no torch.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from benchmarks.tables import TABLES

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
MARKED = re.compile(r"(?<=<!-- table: )(?P<name>[\w ,.-]+)( -->\n).*?(<!-- end -->)", re.DOTALL)


def newest(benchmark: str, results: Path = RESULTS) -> dict:
    """The last record of a benchmark. Raises FileNotFoundError where there is none."""
    lines = (results / f"{benchmark}.jsonl").read_text(encoding="utf-8").splitlines()
    return json.loads(lines[-1])


def rendered(document: str, results: Path = RESULTS) -> str:
    """A document with every marked table made from the results. Raises KeyError for a name without a table."""

    def replace(match: re.Match) -> str:
        table = TABLES[match["name"]]
        text = table.render(newest(table.benchmark, results)["figures"])
        if text is None:
            raise KeyError(f"The newest results of {table.benchmark} have no figures for the table {table.name}.")
        return f"{match['name']}{match[2]}\n{text}\n\n{match[3]}"

    return MARKED.sub(replace, document)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 where something differs")
    check, differing = parser.parse_args().check, []
    for file in sorted((ROOT / "docs").glob("*.md")):
        text = file.read_text(encoding="utf-8")
        new = rendered(text)
        if new != text:
            differing.append(file.name)
            if not check:
                file.write_text(new, encoding="utf-8")
    print(f"{'Differing' if check else 'Rewritten'}: {', '.join(differing) or 'none'}.")
    return int(check and bool(differing))


if __name__ == "__main__":
    sys.exit(main())
