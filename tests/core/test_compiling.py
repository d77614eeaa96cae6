"""Compiled blocks: the same values, few graphs, and eager with one sentence where compiling is not possible."""

import sysconfig

import pytest
import torch
from refusals import refused

from lumina_core import MultiScaleNextDiT
from lumina_core.cli import main
from lumina_core.network import compilation as compiling
from lumina_core.network.compilation import CompiledNetwork, EagerAfterFailure, compile_blocks, missing_requirement
from lumina_core.network.config import VideoConfig

CPU = torch.device("cpu")
CONFIG = VideoConfig(dim=64, layers=2, heads=4, kv_heads=2, ffn_hidden=96, text_dim=48, cond_dim=32)
SIZES = ((4, 8, 12), (2, 16, 8))


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = MultiScaleNextDiT(CONFIG).eval().requires_grad_(False)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    yield network
    torch._dynamo.reset()


def inputs(random, size, batch):
    """One item with all of its text, or two of which the second's text is shorter, as in a guided step."""
    text, mask = random(batch, 9, 48), torch.ones(batch, 9, dtype=torch.bool)
    mask[1:, 4:] = False
    t, motion = torch.linspace(0.2, 0.6, batch), torch.tensor([3.0, -1.0])[:batch]
    return random(batch, 16, *size), t, text, mask, motion


def distance(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


def run(network, calls):
    """Outputs of every call; as in a run, calls of one text share what is made of it."""
    contexts = {}
    outputs = []
    with torch.no_grad():
        for (x, t, text, mask, motion), patch in calls:
            if id(text) not in contexts:
                contexts[id(text)] = network.cache_text(text, mask)
            outputs.append(network(x, t, contexts[id(text)], None, motion, patch))
    return outputs


@pytest.mark.slow
def test_every_patch_size_shares_one_graph_per_kind_of_batch(network, random):
    graphs = []

    def count(module, example):
        graphs.append(module)
        return module.forward

    given = [inputs(random, size, batch) for size in SIZES for batch in (1, 2)]
    calls = [(items, patch) for items in given for patch in CONFIG.patches]
    expected = run(network, calls)
    compiled = compile_blocks(network, CPU, backend=count)
    assert max(map(distance, run(compiled, calls), expected)) <= 1e-5
    assert 1 <= len(graphs) <= 2 < len(CONFIG.patches), "one graph for a single item, one for more"
    assert not torch._dynamo.utils.counters["graph_break"]

    # As a LoRA does: other weights, and the graphs stay.
    layer = network.layers[1].feed_forward.w2
    layer.weight = torch.nn.Parameter(layer.weight.roll(1, 0), requires_grad=False)
    with torch.compiler.set_stance("force_eager"):
        changed = run(network, calls)
    assert min(map(distance, changed, expected)) > 1e-3
    assert max(map(distance, run(compiled, calls), changed)) <= 1e-5
    assert len(graphs) <= 2


@pytest.mark.slow
@pytest.mark.skipif(missing_requirement(CPU) is not None, reason=f"torch.compile lacks {missing_requirement(CPU)}")
def test_machine_code_gives_the_same_values(network, random):
    calls = [(inputs(random, SIZES[0], 2), patch) for patch in CONFIG.patches]
    expected = run(network, calls)
    compiled = compile_blocks(network, CPU, report=pytest.fail)
    assert max(map(distance, run(compiled, calls), expected)) <= 1e-5


def test_it_is_the_network_in_all_else(network):
    keys = set(network.state_dict())
    compiled = compile_blocks(network, CPU, backend="eager")
    assert isinstance(compiled, CompiledNetwork)
    assert set(compiled.state_dict()) == keys
    assert compiled.config is CONFIG


def test_a_failure_to_compile_is_one_sentence_and_eager(network, random):
    def broken(module, example):
        raise RuntimeError("no luck today\nand a long story")

    calls = [(inputs(random, SIZES[0], batch), patch) for batch in (1, 2) for patch in CONFIG.patches]
    with torch.no_grad():
        expected = [network(*given, patch) for given, patch in calls]
    said = []
    compiled = compile_blocks(network, CPU, backend=broken, report=said.append)
    for (given, patch), wanted in zip(calls, expected, strict=True):
        assert torch.equal(compiled(*given, patch), wanted)
    (sentence,) = said
    assert sentence.startswith("The blocks run eager from here on: torch.compile failed (")
    assert "no luck today" in sentence and "\n" not in sentence


def test_a_fault_of_the_call_is_no_failure_to_compile(network, random):
    compiled = compile_blocks(network, CPU, backend="eager", report=lambda _: pytest.fail("no compile failure"))
    x, t, text, mask, motion = inputs(random, SIZES[0], 1)
    with refused("text_encoder", "mismatch", "47", "48"):
        compiled(x, t, text[..., 1:], mask, motion, CONFIG.patches[0])
    assert not compiled.guard.failed


def test_once_failed_nothing_compiles_again():
    guard = EagerAfterFailure(report=pytest.fail, failed=True)
    assert guard(lambda: torch.compile(lambda x: x + 1, backend=lambda *_: pytest.fail("compiled"))(torch.ones(1))) == 2


@pytest.mark.parametrize(
    "names, found, told",
    [
        ({}, ("g++",), None),
        ({}, ("clang++",), None),
        ({}, ("gcc",), "a C++ compiler (g++ or clang++)"),
        ({"CXX": "icpx"}, ("g++",), "a C++ compiler (icpx)"),
    ],
)
def test_a_cpu_needs_a_compiler(monkeypatch, names, found, told):
    monkeypatch.delenv("CXX", raising=False)
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(compiling.sys, "platform", "linux")
    monkeypatch.setattr(compiling.shutil, "which", lambda name: name if name in found else None)
    assert missing_requirement(CPU) == told


def test_python_headers_are_needed(monkeypatch, tmp_path):
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    monkeypatch.setattr(compiling.shutil, "which", lambda name: name)
    assert missing_requirement(CPU).startswith("Python's headers (")
    (tmp_path / "Python.h").touch()
    assert missing_requirement(CPU) is None


@pytest.mark.parametrize(
    "capability, triton, told",
    [((9, 0), True, None), ((9, 0), False, "the package triton"), ((6, 1), True, "7.0 or newer; this one has 6.1")],
)
def test_a_gpu_needs_triton_and_to_be_new(monkeypatch, capability, triton, told):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(compiling, "find_spec", lambda name: triton or None)
    monkeypatch.setattr(compiling.shutil, "which", lambda name: name)
    found = missing_requirement(torch.device("cuda"))
    assert found is None if told is None else told in found


def test_other_devices_and_old_torch_are_named(monkeypatch):
    assert missing_requirement(torch.device("mps")) == "a compiler for mps; it is there for cpu and cuda"
    monkeypatch.delattr(torch.compiler, "set_stance")
    assert missing_requirement(CPU).endswith("compiling needs 2.6 or newer")


def test_what_is_missing_is_said_and_the_network_stays_as_it_was(network, monkeypatch):
    monkeypatch.setattr(compiling, "missing_requirement", lambda device: "a C++ compiler (g++)")
    said = []
    assert compile_blocks(network, CPU, report=said.append) is network
    assert said == ["The blocks run eager: torch.compile lacks a C++ compiler (g++)."]


@pytest.mark.parametrize("flags, asked", [([], False), (["--compile"], True)])
def test_generate_compiles_where_it_is_asked_to(tiny_set, tmp_path, monkeypatch, capsys, flags, asked):
    monkeypatch.setattr(compiling, "missing_requirement", lambda device: "a C++ compiler (g++)")
    models = ["--checkpoint", tiny_set.model, "--text-encoder", tiny_set.text, "--vae", tiny_set.vae]
    clip = ["--width", "64", "--height", "32", "--frames", "8", "--device", "cpu", "--points", "3", "--time-shift", "1"]
    out = ["--out", tmp_path / "clip.mp4"]
    assert main([str(part) for part in ["generate", *models, "--prompt", "a cat", *clip, *out, *flags]]) == 0
    said = "The blocks run eager: torch.compile lacks a C++ compiler (g++)." in capsys.readouterr().err
    assert said == asked
