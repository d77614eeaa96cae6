"""The plan route: what it draws, what it refuses, and that it says what the queue says."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest
from graphs import MODEL, SIZE, Graph, sampler_node
from server import HostServer

FIELDS = {"preset": "f24F96R960-MultiScale", "model_name": MODEL, **SIZE}


def plan(server: HostServer, **request) -> dict:
    body = json.dumps(request).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{server.url}/lumina-video/plan", data=body)) as answer:
        return json.loads(answer.read())


def refusal(server: HostServer, body: bytes) -> str:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(f"{server.url}/lumina-video/plan", data=body))
    assert refused.value.code == 400
    return json.loads(refused.value.read())["error"]


@pytest.mark.parametrize(
    "fault",
    [{"patch": "2x4 | 0.03: 2y2"}, {"guidance": "4 | 2: 0"}, {"motion": "fast"}, {"negative_motion": "1 |"},
     {"width": 72, "patch": "1x2"}, {"frames": 20, "patch": "2x2"}],
)  # fmt: skip
def test_errors_are_the_queues_own(server, fault):
    answer = plan(server, fields={**FIELDS, **fault})
    assert answer["error"] and answer["outline"] is None and answer["estimate"] is None
    graph = Graph()
    graph.save_latent(sampler_node(graph, **fault)[0])
    assert answer["error"] in json.dumps(server.submit_error(graph.api), ensure_ascii=False)


def test_a_budget_is_kept(server):
    answer = plan(server, fields=FIELDS, budget=0.5)
    assert answer["error"] is None and answer["outline"]["relative"] <= 0.5
    assert answer["schedules"]["patch"]["own"] and "2x4" in answer["schedules"]["patch"]["values"]
    assert "budget is 0.0001" in plan(server, fields=FIELDS, budget=0.0001)["error"]


def test_seconds_take_the_place_of_frames(server):
    four, frames = (
        plan(server, fields={**FIELDS, **change})["outline"]["flops"] for change in ({"seconds": 4}, {"frames": 96})
    )
    assert four == frames != plan(server, fields=FIELDS)["outline"]["flops"]


def test_linked_and_blank_fields_are_the_presets(server):
    nothing = plan(server, fields=FIELDS)
    linked = plan(server, fields={**FIELDS, "patch": None, "guidance": "", "points": None, "batch_size": None})
    for answer in (nothing, linked):
        answer.pop("estimate")
    assert linked == nothing and not linked["schedules"]["patch"]["own"]


def test_a_hundred_segments(server):
    text = " | ".join(["0", *(f"{i / 100}: {i % 7}" for i in range(1, 100))])
    answer = plan(server, fields={**FIELDS, "guidance": text})
    assert answer["error"] is None and len(answer["schedules"]["guidance"]["values"]) == 100


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"{", "The body is not JSON"),
        (b"[]", "is not an object"),
        (b"null", "is not an object"),
        (b'{"fields": 3}', "is not an object"),
        (b'{"fields": {"width": "wide"}}', "width, is 'wide'"),
        (b'{"fields": {"frames": 16.5}}', "frames, is 16.5"),
        (b'{"fields": {"seconds": NaN}}', "seconds is nan"),
        (b'{"fields": {"renorm": Infinity}}', "renorm is inf"),
        (b'{"fields": {"points": 1000000000}}', "points is 1000000000"),
        (b'{"fields": {"points": true}}', "points, is True"),
        (b'{"fields": {"patch": 2}}', "patch, is 2"),
        (b'{"fields": {"batch_size": 0}}', "batch_size is 0"),
        (b'{"budget": NaN}', "budget is nan"),
        (b'{"fields": {"sampler": "euler"}}', "unknown field 'sampler'"),
        (b'{"nodes": [3]}', "nodes is not a list of nodes"),
        (b'{"budget": "half"}', "budget, is 'half'"),
    ],
)
def test_wrong_requests_get_a_sentence(server, body, sentence):
    assert sentence in refusal(server, body)


def test_estimates_come_with_the_first_run(server):
    request = urllib.request.Request(f"{server.url}/lumina-video/timings", data=b'{"remember": true, "erase": true}')
    urllib.request.urlopen(request).close()
    fields = {**FIELDS, "points": 5, "weight_dtype": "fp32"}
    assert plan(server, fields=fields)["estimate"] is None
    graph = Graph()
    graph.save_latent(sampler_node(graph, points=5, seed=31)[0])
    server.prompt(graph.api)
    answer = plan(server, fields=fields)
    found = answer["estimate"]
    assert found["exact"] and found["runs"] == 1 and len(found["segments"]) == len(answer["outline"]["segments"])
    assert found["seconds"] == pytest.approx(sum(found["segments"]))
    assert not plan(server, fields={**fields, "width": 128})["estimate"]["exact"]
    assert plan(server, fields={**fields, "weight_dtype": "bf16"})["estimate"] is None
    assert plan(server, fields={**fields, "model_name": "mini (bundled)"})["estimate"] is None


def test_the_memory_is_that_of_the_model_and_this_machine(server):
    """On a processor the room is the machine's memory; the released model is stood for by one that is not there."""
    mini, small = (plan(server, fields={**FIELDS, **change})["outline"]["memory"] for change in ({}, {"width": 32}))
    assert mini["total"] == max(mini["sampling"], mini["decode"]) > 0 and mini["fits"] == "yes"
    assert mini["advice"] is None and mini["room"] > 1 and small["decode"] < mini["decode"]
    released = {"preset": "f24F96R960", "width": 2048, "height": 2048, "frames": 240}
    large = plan(server, fields={**released, "weight_dtype": "bf16", "batch_size": 64})["outline"]["memory"]
    assert large["fits"] == "no" and large["advice"].startswith("This run needs ")
    assert large["weights"] == pytest.approx(2 * 1_771_364_672 / 2**30)
    fp8 = plan(server, fields={**released, "weight_dtype": "fp8_e4m3fn"})["outline"]["memory"]
    assert fp8["weights"] == large["weights"] / 2
