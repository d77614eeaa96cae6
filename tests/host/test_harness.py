"""The test server itself, with the host's own nodes: so that a red test of ours is about our nodes."""

import pytest
from server import HostError, HostServer

IMAGE = {"class_type": "EmptyImage", "inputs": {"width": 32, "height": 16, "batch_size": 1, "color": 255}}


def _save(prefix: str) -> dict:
    return {"1": IMAGE, "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}}}


def test_prompt_runs_and_files_are_found(server: HostServer):
    result = server.prompt(_save("harness"))
    (file,) = result.files(2)
    assert file.read_bytes()[:4] == b"\x89PNG"
    assert result.executed == ["1", "2"]
    assert result.history["status"]["status_str"] == "success"


def test_refusal_is_returned_with_its_details(server: HostServer):
    graph = {**_save("refused"), "1": {**IMAGE, "inputs": {**IMAGE["inputs"], "width": -1}}}
    refusal = server.submit_error(graph)
    assert refusal["node_errors"]["1"]["errors"][0]["type"] == "value_smaller_than_min"


def test_failure_while_running_is_raised(server: HostServer, tmp_path):
    file = tmp_path / "broken.png"
    file.write_bytes(b"this is no picture")
    load = {"class_type": "LoadImage", "inputs": {"image": server.put_input(file)}}
    show = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    with pytest.raises(HostError, match="LoadImage"):
        server.prompt({"1": load, "2": show})
