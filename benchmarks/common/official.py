"""Loads the official Lumina-Video network from a checkout, on any machine and without touching the checkout.

What its model.py imports and a plain machine lacks gets a stand-in in memory while it loads: flash-attn becomes torch's
scaled_dot_product_attention per sample, sequence parallelism a group of one, apex's RMSNorm torch's. Its assertions are
compiled away, as `python -O` would, because one of them refuses float32.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import torch
import torch.nn.functional as F


class _NoAssertions(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname):
        # Not source_to_code: that one's result is cached beside the checkout's files.
        return compile(self.get_data(self.path), self.path, "exec", dont_inherit=True, optimize=1)


def load_official(checkout: Path) -> ModuleType:
    """The checkout's models/model.py as a module; its classes keep working after the stand-ins are gone."""
    path = checkout / "models" / "model.py"
    if not path.is_file():
        raise SystemExit(f"{path} does not exist; give a checkout of Alpha-VLLM/Lumina-Video with --official.")
    name = "official_lumina_video.model"
    spec = importlib.util.spec_from_file_location(name, path, loader=_NoAssertions(name, str(path)))
    module = importlib.util.module_from_spec(spec)
    with patch.dict(sys.modules, {**_stand_ins(), name: module}):
        spec.loader.exec_module(module)
    return module


def _stand_ins() -> dict[str, ModuleType]:
    return {
        "flash_attn": _module("flash_attn", flash_attn_varlen_func=attention_per_sample),
        "flash_attn.bert_padding": _module(
            "flash_attn.bert_padding", unpad_input=unpad_input, index_first_axis=None, pad_input=None
        ),
        "utils": _module("utils"),
        "utils.parallel": _module(
            "utils.parallel",
            all_to_all=lambda x, **_: x,
            gather_from_sequence_parallel_region=lambda x, **_: x,
            scatter_to_sequence_parallel_region=lambda x, **_: (x, 0),
            get_sequence_parallel_group=lambda: None,
            get_sequence_parallel_rank=lambda: 0,
            get_sequence_parallel_world_size=lambda: 1,
        ),
        "official_lumina_video": _module("official_lumina_video", __path__=[]),
        "official_lumina_video.components": _module("official_lumina_video.components", RMSNorm=torch.nn.RMSNorm),
    }


def _module(name: str, **contents: object) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(contents)
    return module


def attention_per_sample(q, k, v, cu_seqlens_q, cu_seqlens_k, softmax_scale, **_unused):
    """Packed tokens (L, heads, D) whose samples, split at ``cu_seqlens``, attend to themselves only."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    lengths_q, lengths_k = (cu.diff().tolist() for cu in (cu_seqlens_q, cu_seqlens_k))
    items = zip(q.split(lengths_q), k.split(lengths_k), v.split(lengths_k), strict=True)
    rows = []
    for item in items:
        out = F.scaled_dot_product_attention(*(x.transpose(0, 1)[None] for x in item), scale=softmax_scale)
        rows.append(out[0].transpose(0, 1))
    return torch.cat(rows) if len(rows) > 1 else rows[0]


def unpad_input(features, mask):
    """Visible tokens of (B, S, D) one after another, their places, cumulated counts, the longest."""
    counts = mask.sum(dim=1, dtype=torch.int32)
    return (
        features[mask],
        mask.flatten().nonzero()[:, 0],
        F.pad(counts.cumsum(0, dtype=torch.int32), (1, 0)),
        int(counts.max()),
    )
