"""Inside the host: how many rows of text go through the network's text layers in a run, and which rotary tables."""

from collections import Counter

import torch
from lumina_video_under_test.lumina_core import SamplingPlan
from lumina_video_under_test.lumina_core.network import next_dit
from lumina_video_under_test.nodes.host.model_patches import set_patch_schedule
from lumina_video_under_test.nodes.host.sampling import make_guider, sample_video
from lumina_video_under_test.nodes.host.video_model import load_model

import nodes

TEXT_WIDTH = 48
PLAN = SamplingPlan(patch="2x4 | 0.2: 2x2 | 0.5: 1x2", guidance="3 | 0.6: 0", points=9)
LENGTHS = {"texts of one length": (6, 6), "texts of two lengths": (9, 5)}


def main(checkpoint: str) -> dict:
    model = load_model(checkpoint, torch.float32)
    counter = Counting(model.model.diffusion_model)
    report = {}
    for name, lengths in LENGTHS.items():
        features = torch.randn(2, 9, TEXT_WIDTH, generator=torch.Generator().manual_seed(1))
        both = [[[text[None, :length], {}]] for text, length in zip(features, lengths, strict=True)]
        guider = make_guider(set_patch_schedule(model, PLAN.patch), *both, str(PLAN.guidance), PLAN.renorm)
        empty = {"samples": torch.zeros(1, 16, 4, 8, 8)}
        report[name] = counter.of(lambda guider=guider, empty=empty: sample_video(guider, PLAN, empty, 7))
        report[name + ", again"] = counter.of(lambda guider=guider, empty=empty: sample_video(guider, PLAN, empty, 7))
        patched = set_patch_schedule(model, PLAN.patch)
        report[name + ", KSampler"] = counter.of(
            lambda patched=patched, both=both, empty=empty: nodes.common_ksampler(
                patched, 7, PLAN.steps, 4.0, "euler", "simple", *both, empty
            )
        )
    return report


class Counting:
    """Rows that the text layers of a network were given, and the grids that rotary tables were made for."""

    def __init__(self, network):
        self.rows, self.grids = Counter(), []
        layers = {"pooled": network.cap_embedder}
        for index, layer in enumerate(network.layers):
            layers |= {f"{index} norm": layer.attention_y_norm, f"{index} keys": layer.attention.wk_y}
            layers[f"{index} values"] = layer.attention.wv_y
        for name, layer in layers.items():
            layer.register_forward_pre_hook(lambda _, inputs, name=name: self.count(name, inputs[0]))
        make = next_dit.freqs_cis

        def freqs_cis(grid, *rest):
            self.grids.append(list(grid))
            return make(grid, *rest)

        next_dit.freqs_cis = freqs_cis

    def count(self, name: str, x: torch.Tensor) -> None:
        self.rows[name] += len(x)

    def of(self, call) -> dict:
        self.rows.clear()
        self.grids.clear()
        call()
        return {"rows": dict(self.rows), "grids": list(self.grids)}
