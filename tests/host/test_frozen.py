"""Saved workflows never break: what was shipped once stays, and new inputs come last and are optional.

`frozen_nodes.json` lists each shipped node's inputs and outputs in order. After adding an input or a node, add it
there; never change or reorder what is there.
"""

import json
from pathlib import Path

FROZEN = json.loads(Path(__file__).with_name("frozen_nodes.json").read_text(encoding="utf-8"))


def surface(info: dict) -> dict:
    order = info["input_order"]
    specs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    kinds = {name: "COMBO" if isinstance(spec[0], list) else spec[0] for name, spec in specs.items()}
    return {
        "required": [[name, kinds[name]] for name in order.get("required", [])],
        "optional": [[name, kinds[name]] for name in order.get("optional", [])],
        "outputs": list(info["output"]),
    }


def test_shipped_nodes_keep_their_inputs_and_outputs(server):
    nodes = server.object_info()
    found = {name: surface(info) for name, info in nodes.items() if name.startswith("LuminaVideo")}
    assert found.keys() == FROZEN.keys(), "a node was removed, or is not in frozen_nodes.json yet"
    for name, shipped in FROZEN.items():
        assert found[name]["required"] == shipped["required"], f"{name}: required inputs are frozen"
        assert found[name]["optional"][: len(shipped["optional"])] == shipped["optional"], (
            f"{name}: new inputs come last"
        )
        assert found[name]["outputs"][: len(shipped["outputs"])] == shipped["outputs"], f"{name}: new outputs come last"
