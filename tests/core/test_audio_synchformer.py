"""Synchformer's visual encoder: released names and shapes, numbers of a slow reference, files of every layout."""

import json
import math
import struct

import pytest
import torch
from refusals import refused

from lumina_core.audio.synchformer import SyncConfig, SyncEncoder
from lumina_core.audio.synchformer_loader import SYNC_KEY, load_sync_encoder, save_sync_encoder
from lumina_core.shapes.audio_rates import SEGMENT, SLOTS

SMALL = SyncConfig(width=12, layers=2, heads=3, mlp=20, side=6, patch=2)


@pytest.fixture
def small():
    """Random everywhere, the class tokens and norms too, and large enough that attention is far from even."""
    torch.manual_seed(3)
    encoder = SyncEncoder(SMALL).eval()
    for value in encoder.parameters():
        value.data.normal_(0, 0.5)
    return encoder


def norm(x, weights, name):
    mean = x.mean(-1, keepdim=True)
    spread = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(spread + 1e-6) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def look(query, keys, values):
    """One query over some keys, all of one head."""
    scores = torch.stack([(query * key).sum() for key in keys]) / math.sqrt(len(query))
    return (scores.softmax(0)[:, None] * torch.stack(values)).sum(0)


def divided(x, weights, name, sees):
    """Token by token and head by head; sees(i) are the tokens that token i looks at."""
    width, size = SMALL.width, SMALL.width // SMALL.heads
    qkv = linear(x, weights, f"{name}.qkv")
    q, k, v = qkv[:, :width], qkv[:, width : 2 * width], qkv[:, 2 * width :]
    heads = [slice(size * head, size * (head + 1)) for head in range(SMALL.heads)]
    rows = []
    for token in range(len(x)):
        seen = sees(token)
        rows.append(torch.cat([look(q[token, h], [k[j, h] for j in seen], [v[j, h] for j in seen]) for h in heads]))
    return linear(torch.stack(rows), weights, f"{name}.proj")


def reference(weights, segment):
    """One segment (3, 16, side, side) to (8, width), from the description alone."""
    across, patch = SMALL.side // SMALL.patch, SMALL.patch
    sites = across**2
    kernel = weights["patch_embed_3d.proj.weight"].flatten(1)
    tokens = [weights["cls_token"][0, 0] + weights["pos_embed"][0, 0]]
    for time in range(SLOTS):
        for site in range(sites):
            top, left = patch * (site // across), patch * (site % across)
            piece = segment[:, 2 * time : 2 * time + 2, top : top + patch, left : left + patch]
            token = kernel @ piece.flatten() + weights["patch_embed_3d.proj.bias"]
            tokens.append(token + weights["pos_embed"][0, 1 + site] + weights["temp_embed"][0, time])
    x = torch.stack(tokens)

    def same_site(token):
        return range(len(x)) if token == 0 else [0, *range(1 + (token - 1) % sites, len(x), sites)]

    def same_frame(token):
        first = 1 + (token - 1) // sites * sites
        return range(len(x)) if token == 0 else [0, *range(first, first + sites)]

    for block in (f"blocks.{index}" for index in range(SMALL.layers)):
        x = x + divided(norm(x, weights, f"{block}.norm3"), weights, f"{block}.timeattn", same_site)
        x = x + divided(norm(x, weights, f"{block}.norm1"), weights, f"{block}.attn", same_frame)
        hidden = gelu(linear(norm(x, weights, f"{block}.norm2"), weights, f"{block}.mlp.fc1"))
        x = x + linear(hidden, weights, f"{block}.mlp.fc2")
    x = norm(x[1:], weights, "norm")
    return torch.stack([summary(x[sites * t : sites * (t + 1)], weights) for t in range(SLOTS)])


def summary(patches, weights):
    weights = {key.removeprefix("spatial_attn_agg."): value for key, value in weights.items() if "agg" in key}
    for kind in ("weight", "bias"):  # the names of nn.MultiheadAttention, as `divided` says them
        weights[f"attn.qkv.{kind}"] = weights[f"self_attn.in_proj_{kind}"]
        weights[f"attn.proj.{kind}"] = weights[f"self_attn.out_proj.{kind}"]
    x = torch.cat([weights["cls_token"][0], patches])
    x = x + divided(norm(x, weights, "norm1"), weights, "attn", lambda token: range(len(x)))
    return (x + linear(gelu(linear(norm(x, weights, "norm2"), weights, "linear1")), weights, "linear2"))[0]


def test_released_sizes_have_the_released_names_and_shapes():
    with torch.device("meta"):
        shapes = {key: list(value.shape) for key, value in SyncEncoder(SyncConfig()).state_dict().items()}
    assert len(shapes) == 238 and sum(math.prod(shape) for shape in shapes.values()) == 122_440_704
    assert shapes["cls_token"] == shapes["spatial_attn_agg.cls_token"] == [1, 1, 768]
    assert shapes["pos_embed"] == [1, 197, 768] and shapes["temp_embed"] == [1, 8, 768]
    assert shapes["patch_embed.proj.weight"] == [768, 3, 16, 16]
    assert shapes["patch_embed_3d.proj.weight"] == [768, 3, 2, 16, 16]
    for block in range(12):
        for attention in ("attn", "timeattn"):
            assert shapes[f"blocks.{block}.{attention}.qkv.weight"] == [2304, 768]
            assert shapes[f"blocks.{block}.{attention}.proj.bias"] == [768]
        assert shapes[f"blocks.{block}.mlp.fc1.weight"] == [3072, 768]
        assert all(shapes[f"blocks.{block}.norm{number}.bias"] == [768] for number in (1, 2, 3))
    assert shapes["spatial_attn_agg.self_attn.in_proj_weight"] == [2304, 768]
    assert shapes["spatial_attn_agg.self_attn.in_proj_bias"] == [2304]
    assert shapes["spatial_attn_agg.linear2.weight"] == [768, 3072] and shapes["norm.weight"] == [768]


@pytest.mark.parametrize("with_gradients", [False, True])
def test_the_encoder_is_the_slow_reference(small, random, with_gradients):
    # Without gradients torch takes another path through the last layer.
    segments = random(2, 2, 3, SEGMENT, SMALL.side, SMALL.side).double()
    small.double()
    with torch.set_grad_enabled(with_gradients):
        found = small(segments).detach()
    for clip in range(2):
        for number in range(2):
            expected = reference(small.state_dict(), segments[clip, number])
            torch.testing.assert_close(found[clip, number], expected, rtol=1e-9, atol=1e-9)


def test_segments_do_not_see_each_other(small, random):
    segments = random(1, 3, 3, SEGMENT, SMALL.side, SMALL.side)
    other = segments.clone()
    other[:, 1] += 1
    before, after = small(segments), small(other)
    torch.testing.assert_close(before[:, ::2], after[:, ::2])
    assert (before[:, 1] - after[:, 1]).abs().max() > 0.01


def test_the_unused_patches_are_unused(small, random):
    segments = random(1, 1, 3, SEGMENT, SMALL.side, SMALL.side)
    before = small(segments)
    small.patch_embed["proj"].weight.data.add_(1)
    assert torch.equal(small(segments), before)


@pytest.mark.parametrize("shape", [(1, 3, SEGMENT, 6, 6), (1, 1, 3, 15, 6, 6), (1, 1, 3, SEGMENT, 8, 6)])
def test_segments_of_another_shape_are_told(small, shape):
    with refused("segments", "value", str(shape)):
        small(torch.zeros(shape))


@pytest.mark.parametrize(
    ("sizes", "field"),
    [({"heads": 5}, None), ({"patch": 4}, None), ({"layers": 0}, "layers"), ({"width": -12}, "width")],
)
def test_sizes_that_make_no_encoder_are_told(sizes, field):
    with refused(field):
        SyncConfig(**{**SMALL.__dict__, **sizes})


@pytest.fixture
def released(monkeypatch, small):
    """The weights as the released files have them, of a small network that passes for the released one."""
    monkeypatch.setattr("lumina_core.audio.synchformer_loader.SyncConfig", lambda **sizes: SMALL)
    return small.state_dict()


def prefixed(weights, prefix):
    return {prefix + key: value for key, value in weights.items()}


def others():
    """What else is in the released files."""
    names = ("afeat_extractor.cls", "vproj.weight", "aproj.weight", "transformer.pos_emb", "logit_scale")
    return {name: torch.zeros(2) for name in names}


LAYOUTS = {
    "whole.pth": lambda weights: prefixed(weights, "vfeat_extractor.") | others(),
    "whole.safetensors": lambda weights: prefixed(weights, "vfeat_extractor.") | others(),
    "state.pt": lambda weights: {"model": prefixed(weights, "vfeat_extractor.") | others(), "epoch": 3},
    "first.pt": lambda weights: {"state_dict": prefixed(weights, "module.v_encoder.") | others(), "epoch": 3},
    "bare.pt": lambda weights: {
        "state_dict": prefixed(weights | {"head.weight": torch.zeros(3), "pre_logits.b": torch.zeros(1)}, "v_encoder.")
    },
}


def write(path, content):
    from safetensors.torch import save_file

    save_file(content, path) if path.suffix == ".safetensors" else torch.save(content, path)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_released_layout_loads(small, released, tmp_path, name):
    write(tmp_path / name, LAYOUTS[name](released))
    # Alone in its folder, the folder does as well.
    for path in (tmp_path / name, tmp_path):
        encoder = load_sync_encoder(path)
        assert not encoder.training and not any(value.requires_grad for value in encoder.parameters())
        for key, value in small.state_dict().items():
            assert torch.equal(encoder.state_dict()[key], value)


def test_half_precision_files_load_as_float32(small, released, tmp_path):
    write(tmp_path / "a.safetensors", {f"vfeat_extractor.{key}": value.half() for key, value in released.items()})
    assert {value.dtype for value in load_sync_encoder(tmp_path).parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_our_own_file_keeps_its_sizes(small, random, tmp_path, dtype):
    save_sync_encoder(small, tmp_path / "model.safetensors", dtype)
    (tmp_path / "other.pt").write_bytes(b"beside it")
    encoder = load_sync_encoder(tmp_path)
    assert encoder.config == SMALL and [file.name for file in tmp_path.glob(".*")] == []
    segments = random(1, 1, 3, SEGMENT, SMALL.side, SMALL.side)
    exact = dtype == torch.float32
    torch.testing.assert_close(encoder(segments), small(segments), rtol=0, atol=0 if exact else 0.1)


def test_missing_and_misshapen_keys_are_named(released, tmp_path):
    weights = dict(released)
    del weights["temp_embed"]
    weights["norm.weight"] = torch.zeros(5)
    weights["blocks.9.extra"] = torch.zeros(1)
    write(tmp_path / "a.pth", prefixed(weights, "vfeat_extractor."))
    with refused("file", "file", "temp_embed", "blocks.9.extra", "norm.weight"):
        load_sync_encoder(tmp_path / "a.pth")


def test_a_released_file_of_another_size_does_not_fit(small, tmp_path):
    write(tmp_path / "a.pth", prefixed(small.state_dict(), "vfeat_extractor."))
    with refused("file", "file", "768"):
        load_sync_encoder(tmp_path / "a.pth")


def test_values_that_are_not_finite_are_told(released, tmp_path):
    weights = released | {"norm.bias": torch.full((SMALL.width,), math.nan)}
    write(tmp_path / "a.pth", prefixed(weights, "vfeat_extractor."))
    with refused("file", "numerics", "norm.bias"):
        load_sync_encoder(tmp_path / "a.pth")


class Hidden:
    def __reduce__(self):
        return print, ("this must not run",)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.pth", {"some.weight": torch.zeros(1)}, "mismatch"),
        ("a.safetensors", {"some.weight": torch.zeros(1)}, "mismatch"),
        ("a.pth", [1, 2], "file"),
        ("a.pth", {"model": {"epoch": 1}}, "file"),
    ],
)
def test_files_of_something_else_are_told(tmp_path, name, content, kind):
    write(tmp_path / name, content)
    with refused("sync", kind):
        load_sync_encoder(tmp_path / name)


def test_code_in_a_file_is_not_run(tmp_path, capsys):
    write(tmp_path / "a.pth", {"model": Hidden()})
    with refused("file", "file", "a.pth"):
        load_sync_encoder(tmp_path / "a.pth")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_damaged_files_are_told(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x10\x00 not weights" * 20)
    with refused("file", "file", name):
        load_sync_encoder(tmp_path / name)


def test_a_damaged_header_is_told(tmp_path):
    for text, field, kind, fact in (
        ("{", "sync", "file", "a.safetensors"),
        ('{"wide": 3}', "wide", "value", "'wide'"),
        ('{"heads": 7}', None, "value", "7 heads"),
    ):
        header = json.dumps({"__metadata__": {SYNC_KEY: text}}).encode()
        (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
        with refused(field, kind, fact):
            load_sync_encoder(tmp_path)


def test_places_without_one_file_are_told(tmp_path):
    with refused("sync", "missing", "0"):
        load_sync_encoder(tmp_path)
    (tmp_path / "a.pt").touch()
    (tmp_path / "b.pth").touch()
    with refused("sync", "missing", "2"):
        load_sync_encoder(tmp_path)
    with refused("sync", "missing"):
        load_sync_encoder(tmp_path / "c.pth")
    (tmp_path / "d.bin").touch()
    with refused("sync", "file", "d.bin"):
        load_sync_encoder(tmp_path / "d.bin")
