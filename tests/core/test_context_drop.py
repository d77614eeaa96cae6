"""Context Drop against loops, and which layers drop when."""

import cmath
import math
from dataclasses import replace

import pytest
import torch

from lumina_core import LatentSize, MultiScaleNextDiT, PatchSize
from lumina_core.network import attention
from lumina_core.network.attention import plain_attention, torch_attention
from lumina_core.network.block import Attention
from lumina_core.network.compilation import compile_blocks
from lumina_core.network.config import BlockConfig, VideoConfig
from lumina_core.network.context_drop import KeyPool, dropped_layers, pooled_freqs_cis, pooled_grid
from lumina_core.network.forward_options import AS_TRAINED, NetworkOptions
from lumina_core.network.image import ImageConfig, ImageNextDiT
from lumina_core.network.ops import TORCH_OPS
from lumina_core.network.rope import freqs_cis, rotate
from lumina_core.network.rope_scaling import RopeScaling

WIDTHS, THETA, HEAD = (4, 6, 6), 256.0, 16
GRIDS = [(2, 4, 6), (2, 3, 5), (1, 1, 1), (3, 1, 4), (1, 2, 7)]
CONFIG = VideoConfig(dim=64, layers=4, heads=4, kv_heads=2, ffn_hidden=96, text_dim=48, cond_dim=32)
DROP = NetworkOptions(context_drop=1.0)


def cells(grid):
    """The patches (frame, row, column) of every cell, in order."""
    frames, height, width = grid
    for f in range(frames):
        for top in range(0, height, 2):
            for left in range(0, width, 2):
                rows, columns = range(top, min(top + 2, height)), range(left, min(left + 2, width))
                yield [(f, row, column) for row in rows for column in columns]


def index(grid, place):
    return (place[0] * grid[1] + place[1]) * grid[2] + place[2]


def slow_pool(x, grid):
    """x (B, L, D), one cell at a time."""
    return torch.stack([sum(x[:, index(grid, p)] for p in cell) / len(cell) for cell in cells(grid)], dim=1)


def slow_turns(grid, scaling=None):
    """The rotation of every cell's mean position, one complex number at a time."""
    rows = []
    for cell in cells(grid):
        row = []
        for axis, width in enumerate(WIDTHS):
            place = sum(p[axis] for p in cell) / len(cell)
            divisors = [1.0] * (width // 2) if scaling is None else scaling.divisors(axis, width, THETA).tolist()
            row += [cmath.exp(1j * place * THETA ** (-2 * i / width) / divisors[i]) for i in range(width // 2)]
        rows.append(row)
    return torch.tensor(rows, dtype=torch.complex128)


@pytest.fixture
def layer(random):
    config = BlockConfig(dim=64, heads=4, kv_heads=2, ffn_hidden=96, context_dim=40, cond_dim=24)
    layer = Attention(config, TORCH_OPS)
    for parameter in layer.parameters():
        parameter.data = random(*parameter.shape) / math.sqrt(parameter.shape[-1])
    return layer.eval().requires_grad_(False)


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = MultiScaleNextDiT(CONFIG).eval().requires_grad_(False)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    yield network
    torch._dynamo.reset()


def pool_of(grid):
    return KeyPool(grid, pooled_freqs_cis(grid, WIDTHS, THETA))


def inputs(batch=1, size=(2, 8, 12)):
    """Latents and text, the same at every call."""
    generator = torch.Generator().manual_seed(7)
    return torch.randn(batch, 16, *size, generator=generator), torch.randn(batch, 5, 48, generator=generator)


def call(network, t=(0.0,), size=(2, 8, 12), patch=CONFIG.patches[0], options=DROP):
    x, text = inputs(len(t), size)
    return network(x, torch.tensor(t), text, None, torch.full((len(t),), 3.0), patch, options)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_cells_are_means_of_what_there_is(random, grid):
    x = random(2, math.prod(grid), 24)
    found = pool_of(grid)(x)
    assert found.shape == (2, math.prod(pooled_grid(grid)), 24)
    assert torch.allclose(found, slow_pool(x, grid), atol=1e-6)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_a_constant_field_stays_what_it_is(grid):
    found = pool_of(grid)(torch.arange(24.0).expand(2, math.prod(grid), 24))
    assert torch.equal(found, torch.arange(24.0).expand_as(found))


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_cells_stand_at_their_mean_position(grid):
    assert torch.allclose(pooled_freqs_cis(grid, WIDTHS, THETA).to(torch.complex128), slow_turns(grid), atol=1e-6)


def test_scaled_frequencies_count_for_cells_too():
    grid = (2, 3, 5)
    scalings = (None, *(RopeScaling(name, (2.0, 1.5, 3.0), (8, 16, 16), 0.4) for name in ("ntk", "time")))
    found = pooled_freqs_cis(grid, WIDTHS, THETA, scalings=scalings)
    for item, scaling in zip(found, scalings, strict=True):
        assert torch.allclose(item.to(torch.complex128), slow_turns(grid, scaling), atol=1e-6)


def slow_attention(layer, x, context, grid):
    """Every query over every cell, one product at a time; float64."""
    turns = freqs_cis(grid, WIDTHS, THETA)
    q = rotate(layer.q_norm(layer.wq(x)).unflatten(-1, (-1, HEAD)), turns).double()
    k = slow_pool(layer.k_norm(layer.wk(x)), grid).unflatten(-1, (-1, HEAD)).double()
    v = slow_pool(layer.wv(x), grid).unflatten(-1, (-1, HEAD)).double()
    k = torch.view_as_real(torch.view_as_complex(k.unflatten(-1, (-1, 2))) * slow_turns(grid)[:, None]).flatten(-2)
    k_text, v_text = (part.transpose(1, 2).double() for part in layer.context_keys_values(context))
    rows = torch.zeros_like(q)
    for item in range(q.shape[0]):
        for token in range(q.shape[1]):
            for head in range(4):
                gate = math.tanh(float(layer.gate[head]))
                for keys, values, factor in ((k, v, 1.0), (k_text, v_text, gate)):
                    weights = [math.exp(q[item, token, head] @ key[head // 2] / 4) for key in keys[item]]
                    for weight, value in zip(weights, values[item], strict=True):
                        rows[item, token, head] += factor * weight / sum(weights) * value[head // 2]
    return rows.flatten(2) @ layer.wo.weight.double().T


@pytest.mark.parametrize("training", [False, True], ids=["overwriting", "with gradients"])
@pytest.mark.parametrize("attend", [torch_attention, plain_attention])
@pytest.mark.parametrize("grid", [(2, 2, 4), (1, 3, 3)], ids=str)
def test_attention_equals_loops(random, layer, grid, attend, training):
    x, context = random(2, math.prod(grid), 64), random(2, 5, 40)
    expected = slow_attention(layer, x.clone(), context, grid)
    text = layer.context_keys_values(context)
    with torch.set_grad_enabled(training):
        ops = replace(TORCH_OPS, attention=attend).for_call(x)
        found = layer(x, freqs_cis(grid, WIDTHS, THETA), text, None, ops, 1.0, pool_of(grid))
    assert torch.allclose(found.double(), expected, atol=1e-5)


def test_flash_attention_gets_its_layout_with_fewer_keys(random):
    def function(q, k, v):
        assert (q.shape, k.shape, v.shape) == ((1, 12, 4, 16), (1, 3, 2, 16), (1, 3, 2, 16))
        return plain_attention(*(x.transpose(1, 2) for x in (q, k, v))).unflatten(-1, (4, 16))

    q, k, v = random(1, 4, 12, 16), random(1, 2, 3, 16), random(1, 2, 3, 16)
    assert torch.allclose(attention._in_flash_layout(function, q, k, v), torch_attention(q, k, v), atol=1e-6)


def keys_of_layers(network, **given):
    """Queries and keys of every self-attention of a call, layer after layer."""
    seen = []

    def record(q, k, v, mask):
        seen.append((q.shape[2], k.shape[2]))
        assert v.shape == k.shape
        return torch_attention(q, k, v, mask)

    call(network.with_attention(record), **given)
    return [lengths for lengths in seen[::2]], {lengths[1] for lengths in seen[1::2]}


@pytest.mark.parametrize("patch", CONFIG.patches, ids=str)
@pytest.mark.parametrize("size", [(2, 8, 16), (2, 12, 20)], ids=str)
@pytest.mark.parametrize("t, dropping", [(0.0, 4), (0.2, 2), (0.3, 1), (0.4, 0), (1.0, 0)])
def test_early_layers_of_early_steps_drop(network, patch, size, t, dropping):
    options = NetworkOptions(context_drop=0.4)
    own, text = keys_of_layers(network, size=size, t=(t,), patch=patch, options=options)
    grid = LatentSize(*size).grid(patch)
    tokens, few = math.prod(grid), grid[0] * math.ceil(grid[1] / 2) * math.ceil(grid[2] / 2)
    assert few < tokens
    assert own == [(tokens, few)] * dropping + [(tokens, tokens)] * (4 - dropping)
    assert text == {5}


@pytest.mark.parametrize("until, counts", [(0.0, [0, 0, 0, 0, 0]), (1.0, [24, 18, 12, 6, 0]), (0.5, [24, 12, 0, 0, 0])])
def test_shares_fall_in_a_line(until, counts):
    assert [dropped_layers(t, until, 24) for t in (0.0, 0.25, 0.5, 0.75, 1.0)] == counts


def test_off_and_late_nothing_changes(network):
    for t, until in ((0.0, 0.0), (0.3, 0.3)):
        found = call(network, (t,), options=NetworkOptions(context_drop=until))
        assert torch.equal(found, call(network, (t,), options=AS_TRAINED))
    assert not torch.allclose(call(network), call(network, options=AS_TRAINED), atol=1e-3)


def test_items_of_unequal_time_drop_each_as_it_should(network):
    times = torch.tensor([0.0, 0.3, 0.9])
    x, text = inputs(3)
    rest = torch.full((3,), 3.0), CONFIG.patches[0], DROP
    together = network(x, times, text, None, *rest)
    for i in range(3):
        one = slice(i, i + 1)
        alone = network(x[one], times[one], text[one], None, rest[0][one], *rest[1:])[0]
        assert torch.allclose(together[i], alone, atol=1e-5)


def test_a_run_keeps_the_tables_of_both(network, monkeypatch):
    made = []
    monkeypatch.setattr(
        "lumina_core.network.next_dit.pooled_freqs_cis", lambda *where: made.append(1) or pooled_freqs_cis(*where)
    )
    x, text = inputs()
    context = network.cache_text(text, None)
    for t in (0.0, 0.1, 0.2):
        network(x, torch.tensor([t]), context, None, torch.tensor([3.0]), CONFIG.patches[0], DROP)
    assert len(made) == 1


def test_gradients_flow_through_pooled_keys(network):
    expected = call(network)
    network.requires_grad_(True)
    found = call(network)
    assert torch.allclose(found, expected, atol=1e-5)
    found.square().mean().backward()
    weights = network.layers[0].attention
    for weight in (weights.wk.weight, weights.wv.weight):
        assert bool(torch.isfinite(weight.grad).all()) and float(weight.grad.abs().max()) > 0


@pytest.mark.slow
def test_compiled_blocks_have_few_graphs(network):
    graphs = []

    def count(module, example):
        graphs.append(module)
        return module.forward

    # As everywhere, a graph takes a 1, or a number that is also one of the network's widths, for fixed.
    kinds = [((4, 16, 24), (0.5,)), ((4, 16, 24), (0.5, 0.5)), ((6, 20, 28), (0.5,))]
    calls = [{"size": size, "t": t, "patch": patch} for size, t in kinds for patch in CONFIG.patches]
    expected = [call(network, **given) for given in calls]
    compiled = compile_blocks(network, torch.device("cpu"), backend=count)
    for given, wanted in zip(calls, expected, strict=True):
        assert torch.allclose(call(compiled, **given), wanted, atol=1e-4)
    assert len(graphs) <= 5, "with and without pools, for one item and for more, and pools with odd sides"
    assert not torch._dynamo.utils.counters["graph_break"]


def test_patch_sizes_of_an_image(network):
    own, _ = keys_of_layers(network, size=(1, 8, 8), patch=PatchSize(2, 4))
    assert own == [(4, 1)] * 4


def test_images_drop_too_with_their_own_order_of_axes():
    config = ImageConfig(dim=48, layers=2, heads=4, kv_heads=2, ffn_hidden=64, text_dim=24, cond_dim=32)
    network = ImageNextDiT(config).eval().requires_grad_(False)
    seen = []

    def record(q, k, v, mask):
        seen.append((q.shape[2], k.shape[2]))
        return torch_attention(q, k, v, mask)

    x, text = torch.randn(1, 4, 1, 6, 10), torch.randn(1, 7, 24)
    network.with_attention(record)(x, torch.zeros(1), text, None, None, config.patches[0], DROP)
    assert seen[::2] == [(15, 6)] * 2

    text = network.cache_text(text, None)
    _, pool = network._positions(x, torch.zeros(1), text, config.patches[0], DROP, pools=True)
    middles = [(h, w) for h in (0.5, 2) for w in (0.5, 2.5, 4)]
    powers = [config.rope_theta ** (-4 * i / 12) for i in range(3)]
    expected = [[cmath.exp(1j * place * power) for power in powers for place in middle] for middle in middles]
    assert torch.allclose(pool.freqs, torch.tensor(expected), atol=1e-6)
