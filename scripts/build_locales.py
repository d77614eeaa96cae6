"""Write locales/en/nodeDefs.json from the nodes' schemas, as a real ComfyUI returns them in /object_info.

    python scripts/build_locales.py
Needs a ComfyUI (COMFYUI_PATH). The other languages have the same keys (tests/host/test_locales.py) and are written by
hand. Only what is shown is translated: links, saved workflows and the API go by the names of the schema, and the front
ends offer the values of a list as they are.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "host")]

from hosts import HOW_TO_POINT, find_hosts  # noqa: E402
from server import HostServer  # noqa: E402

PREFIX = "LuminaVideo"
ENGLISH = ROOT / "locales" / "en" / "nodeDefs.json"
# The grammar of schedules in the schemas, and its replacement: front ends read a bar as a separator of plural forms.
GRAMMAR = ("first value | t: next value | ...,", "first value, then a bar and t: next value, and so on;")
# Syntax of the front ends' message format. One front end shows tooltips unparsed, so escaping is not possible.
SYNTAX = re.compile(r"[|{}@]")


def main() -> None:
    """Write the file."""
    hosts, missed = find_hosts()
    if not hosts:
        raise SystemExit(f"Needs a ComfyUI. {' '.join(missed)} {HOW_TO_POINT}")
    with HostServer(hosts[0]) as server:
        text = english_file(server.object_info())
    ENGLISH.write_text(text, encoding="utf-8", newline="\n")
    print(f"wrote {ENGLISH.relative_to(ROOT)}")


def english_file(object_info: dict[str, dict]) -> str:
    """The whole file, nodes by id."""
    nodes = {key: node_words(info) for key, info in sorted(object_info.items()) if key.startswith(PREFIX)}
    return json.dumps(nodes, indent=2, ensure_ascii=False) + "\n"


def node_words(info: dict) -> dict:
    """The translatable texts of one node; outputs are keyed by index."""
    words = {
        "display_name": plain(info["display_name"]),
        "description": plain(info["description"]),
        "inputs": labels(shown_inputs(info)),
        "outputs": {
            str(place): {"name": plain(name), "tooltip": plain(tooltip)}
            for place, (name, tooltip) in enumerate(zip(info["output_name"], info["output_tooltips"], strict=True))
        },
    }
    return {key: value for key, value in words.items() if value}


def shown_inputs(info: dict) -> dict[str, list]:
    """Inputs by name, in order, without those that the host fills in."""
    return {name: spec for group in ("required", "optional") for name, spec in info["input"].get(group, {}).items()}


def labels(inputs: dict[str, list]) -> dict[str, dict[str, str]]:
    """Texts of every input, and of the widget that the front ends add after a seed."""
    found = {}
    for name, spec in inputs.items():
        found[key_of(name)] = input_words(name, spec)
        if len(spec) > 1 and spec[1].get("control_after_generate"):
            found["control_after_generate"] = {"name": "control after generate"}
    return found


def input_words(name: str, spec: list) -> dict[str, str]:
    """The label, which is the name as in tutorials, and the tooltip."""
    options = spec[1] if len(spec) > 1 else {}
    return {"name": plain(options.get("display_name") or name), "tooltip": plain(options["tooltip"])}


def key_of(name: str) -> str:
    """The key of a name: front ends read a dot as a nested key."""
    return name.replace(".", "_")


def plain(text: str) -> str:
    """The text with the grammar replaced; raises ValueError if it still contains syntax."""
    text = text.replace(*GRAMMAR)
    if SYNTAX.search(text):
        raise ValueError(f"{text!r} contains one of |{{}}@, which the front ends read as syntax; rephrase it.")
    return text


if __name__ == "__main__":
    main()
