"""The pack loads without a warning, and every node is there and says what it is. For help pages see test_help.py."""

import re

import pytest
from server import PACK

SUSPECT = re.compile(r"Traceback|\w+Warning\b|IMPORT FAILED|Cannot import")
LEVEL = re.compile(r"warn|error|fail|deprecat", re.IGNORECASE)


@pytest.fixture(scope="session")
def ours(server, probe):
    """/object_info of our nodes, by id."""
    info = server.object_info()
    missing = [node_id for node_id in probe["node_ids"] if node_id not in info]
    assert missing == [], "nodes of the list that the host does not offer"
    return {node_id: info[node_id] for node_id in probe["node_ids"]}


def test_log_has_no_warning_of_ours(server):
    lines = server.startup_log.splitlines()
    assert any(re.search(rf"\d seconds: .*{PACK}", line) for line in lines), "the host did not import the pack"
    bad = [line for line in lines if SUSPECT.search(line) or (LEVEL.search(line) and "lumina" in line.lower())]
    assert bad == []


def test_nodes_exist_and_ids_are_unique(probe, ours):
    ids = probe["node_ids"]
    assert ids
    assert len(set(ids)) == len(ids)
    assert all(node_id.startswith("LuminaVideo") for node_id in ids)


def test_widgets_that_make_a_plan_are_widgets_of_their_node(probe, ours):
    assert {"LuminaVideoMultiScaleSampler", "LuminaVideoSize", "LuminaVideoContextDrop"} <= probe["plan_inputs"].keys()
    for node_id, names in probe["plan_inputs"].items():
        inputs = ours[node_id]["input"]
        assert set(names) <= {**inputs.get("required", {}), **inputs.get("optional", {})}.keys(), node_id


def test_widgets_that_few_need_are_shown_on_request(ours):
    """Both hosts hand it on to the page; what a first run needs is never among them."""
    inputs = {
        node_id: {**info["input"].get("required", {}), **info["input"].get("optional", {})}
        for node_id, info in ours.items()
    }
    found = {
        (node_id.removeprefix("LuminaVideo"), name)
        for node_id, specs in inputs.items()
        for name, spec in specs.items()
        if len(spec) > 1 and spec[1].get("advanced")
    }
    sampler = {("MultiScaleSampler", name) for name in ("solver", "times", "rope", "context_drop")}
    trained = {("Extrapolation", name) for name in ("proportional", "train_width", "train_height", "train_frames")}
    assert found == {*sampler, *trained, ("Sigmas", "times"), ("ImageModelLoader", "guided_channels")}


def test_every_node_is_described(ours):
    for node_id, info in ours.items():
        assert info["category"].partition("/")[0] == "Lumina-Video", node_id
        assert len(info["description"]) > 20, node_id
        assert info["display_name"] and info["display_name"] != node_id, node_id


def test_every_input_and_output_has_a_tooltip(ours):
    bare = []
    for node_id, info in ours.items():
        for group in ("required", "optional"):
            for name, spec in info["input"].get(group, {}).items():
                options = spec[1] if len(spec) > 1 else {}
                if not options.get("tooltip"):
                    bare.append(f"{node_id}.{name}")
        tooltips = info.get("output_tooltips") or [None] * len(info["output"])
        bare += [f"{node_id} -> {name}" for name, tip in zip(info["output_name"], tooltips, strict=True) if not tip]
    assert bare == []
