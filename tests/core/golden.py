"""Reads tests/golden: numbers of the official code (see the README there)."""

import copy
import hashlib
import json
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_network import WrappedNetwork
from safetensors.torch import load_file

from lumina_core import MultiScaleNextDiT, PatchSize, Piecewise, SamplingPlan
from lumina_core.network.config import VideoConfig
from lumina_core.sampling.guidance import Guider

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = ("cfg1", "cfg2")


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """max|found - expected| / rms(expected)."""
    assert found.shape == expected.shape
    return ((found - expected).abs().max() / expected.pow(2).mean().sqrt()).item()


@cache
def read_json(name: str) -> dict:
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


@cache
def tensors(name: str) -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / f"{name}.safetensors")


def cases(kind: str, key: str = "cases", name: str = "case") -> list[tuple[str, dict]]:
    """(config, case) of every case of ``kind``, as pytest parameters with readable ids."""
    return [pytest.param(c, case, id=f"{c}-{case[name]}") for c in NAMES for case in read_json(f"{c}/{kind}")[key]]


@cache
def model(name: str) -> MultiScaleNextDiT:
    """The network of a config directory, strict, in float32; shared between tests, which do not change it."""
    args = read_json(f"{name}/config" if name in NAMES else f"{name}/wide")["model_args"]
    weights = tensors(f"{name}/weights") if name in NAMES else wide_weights()
    network = MultiScaleNextDiT(_config(args, weights))
    network.load_state_dict(weights, strict=True)
    return network.eval().requires_grad_(False)


def _config(args: dict, weights: dict[str, torch.Tensor]) -> VideoConfig:
    return VideoConfig(
        patches=tuple(map(PatchSize, args["all_f_patch_size"], args["all_patch_size"])),
        dim=args["dim"],
        layers=args["n_layers"],
        heads=args["n_heads"],
        kv_heads=args["n_kv_heads"] or args["n_heads"],
        ffn_hidden=weights["layers.0.feed_forward.w1.weight"].shape[0],
        text_dim=args["cap_feat_dim"],
        cond_dim=min(args["dim"], 1024),
        rope_theta=args["rope_theta"],
        t_scale=args["t_scale"],
        motion_scale=args["motion_scale"],
    )


def wide_weights() -> dict[str, torch.Tensor]:
    """The wide network's weights, drawn again from their seed; raises when they are not the ones the goldens used."""
    facts = read_json("wide/wide")
    weights = {key: _draw(key, tuple(shape), facts["seed"]) for key, shape in facts["shapes"].items()}
    digest = hashlib.sha256()
    for key in sorted(weights):
        digest.update(key.encode())
        digest.update(weights[key].astype("<f4").tobytes())
    if digest.hexdigest() != facts["weights_sha256"]:
        raise AssertionError("The rebuilt weights of the wide golden differ; numpy's generator changed.")
    return {key: torch.from_numpy(value) for key, value in weights.items()}


def _draw(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed * 1000003 + zlib.crc32(key.encode())).standard_normal(shape, dtype=np.float32)
    if len(shape) > 1:
        return noise * np.float32(min(0.2, max(0.02, 1.0 / np.sqrt(shape[1]))))
    if key.endswith("attention.gate"):
        return noise * np.float32(0.8)
    if key == "pad_token":
        return noise * np.float32(0.02)
    if ("norm" in key or key.startswith("cap_embedder.0")) and key.endswith("weight"):
        return np.float32(1.0) + noise * np.float32(0.15)
    return noise * np.float32(0.1)


def patch_of(key: str) -> PatchSize:
    """``4-2`` (space-frames, as in the checkpoints) to a patch size."""
    return PatchSize.from_key(key)


def piecewise(config) -> Piecewise:
    """A schedule of the official form: a value, or [first, [threshold, value], ...]."""
    if not isinstance(config, list):
        return Piecewise((_value(config),))
    first, *later = config
    return Piecewise((_value(first), *(_value(v) for _, v in later)), tuple(t for t, _ in later))


def _value(value):
    return PatchSize.parse(value) if isinstance(value, str) and "x" in value else value


def forward(network, stored, inputs, patch, dtype=torch.float32):
    """One forward case by the names in ``inputs``: a tensor, or a list where the official code packs several sizes."""
    x = inputs["x"]
    t, text, motion = (stored[inputs[key]].to(dtype) for key in ("t", "cap_feats", "motion_score"))
    mask = stored[inputs["cap_mask"]].bool()
    with torch.no_grad():
        if isinstance(x, str):
            return network(stored[x].to(dtype), t, text, mask, motion, patch)
        ones = [slice(i, i + 1) for i in range(len(x))]
        return [
            network(stored[key].to(dtype)[None], t[i], text[i], mask[i], motion[i], patch)[0]
            for key, i in zip(x, ones, strict=True)
        ]


def relative_l2(found: torch.Tensor, expected: torch.Tensor) -> float:
    """|found - expected| / |expected|, the metric of half precision."""
    return ((found.float() - expected.float()).norm() / expected.float().norm()).item()


def rounded(name: str):
    """Stored forward tensors, and the network in bf16 and in float32 with the same weights, all holding bf16 values."""
    network = copy.deepcopy(model(name)).bfloat16()
    stored = {key: value.bfloat16().float() for key, value in tensors(f"{name}/forward").items()}
    return stored, network, copy.deepcopy(network).float()


def bf16_and_exact(name: str, inputs: str, patch: PatchSize) -> tuple[torch.Tensor, torch.Tensor]:
    """A set of forward inputs in bf16 and in float32, at times whose thousandfold bf16 holds."""
    stored, network, exact = rounded(name)
    names = {key: f"in/{inputs}/{key}" for key in ("x", "cap_feats", "cap_mask", "motion_score")} | {"t": "t"}
    stored["t"] = torch.tensor([0.25, 0.5])
    return forward(network, stored, names, patch, torch.bfloat16), forward(exact, stored, names, patch)


def bf16_beside_the_official(name: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The stored bf16 case: ours, the official output, and float32 at the time that a bf16 run really sees."""
    stored, network, exact = rounded(name)
    (case,) = [case for case in read_json(f"{name}/forward")["cases"] if case.get("informative")]
    inputs, patch = case["inputs"], patch_of(case["patch_key"])
    seen = {inputs["t"]: (stored[inputs["t"]].bfloat16() * 1000).float() / 1000}
    found = forward(network, stored, inputs, patch, torch.bfloat16)
    return found, stored[case["output"]], forward(exact, {**stored, **seen}, inputs, patch)


def guided(network, name: str, case: dict) -> torch.Tensor:
    """One guidance case, any number of negatives and items: schedules, network and ``Guider``, put together here."""
    stored = tensors(f"{name}/multicfg")
    x, text, mask = (stored[case["inputs"][key]] for key in ("x", "cap_feats", "cap_mask"))
    t, batch = torch.tensor(case["t"], dtype=torch.float32), case["pos_batch_size"]
    scales = [piecewise(c).at(t.item()) for c in case["cfg_scale"]]
    motion = torch.tensor([piecewise(m).at(t.item()) for m in case["motion_score"]], dtype=torch.float32)
    used = [0] + [i for i, scale in enumerate(scales, start=1) if scale > 0]
    rows = torch.cat([torch.arange(i * batch, (i + 1) * batch) for i in used])
    patch = piecewise(case["patch_comb"]).at(t.item())
    with torch.no_grad():
        state = x[:batch].repeat(len(used), 1, 1, 1, 1)
        parts = network(state, t.expand(len(rows)), text[rows], mask[rows].bool(), motion[rows], patch).split(batch)
    guider = Guider(tuple(scales[i - 1] for i in used[1:]), float(case["renorm_cfg"]))
    return guider(*parts)


def plan_of(run: dict) -> SamplingPlan:
    """The plan of a sampler run."""
    return SamplingPlan(
        patch=piecewise(run["P"]),
        guidance=piecewise(run["cfg"]),
        motion=run["motion"],
        negative_motion=piecewise(run["negMotion"]),
        renorm=run["renorm"],
        time_shift=run["ts"],
        points=run["num_steps"],
        solver=run["method"],
    )


def switch_steps(plan: SamplingPlan) -> tuple[int, ...]:
    """Steps (indices into the grid) whose patch size differs from that of the step before."""
    chosen = [plan.patch.at(float(t)) for t in plan.grid()[:-1]]
    return tuple(i for i in range(1, len(chosen)) if chosen[i] != chosen[i - 1])


def texts_of(run: dict, stored: dict) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Features and mask of the prompt and of the negative prompt of a sampler run."""
    text, mask = (stored[run["inputs"][key]] for key in ("cap_feats", "cap_mask"))
    return [(text[i : i + 1], mask[i : i + 1].bool()) for i in range(2)]


class Recorder(WrappedNetwork):
    """A network that also writes down each call: t, patch key, items, motion scores."""

    def __init__(self, network) -> None:
        super().__init__(network)
        self.calls = []

    def __call__(self, x, t, text, text_mask, motion, patch):
        assert t.unique().numel() == 1
        self.calls.append(
            {"t": t[0].item(), "patch_key": patch.key, "n_items": len(x), "motion_score": motion.tolist()}
        )
        return self.network(x, t, text, text_mask, motion, patch)
