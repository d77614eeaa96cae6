"""Inside the host: runs with compiled blocks, with a LoRA, with a compiler that fails, and with one that is missing."""

import json
import logging
from types import SimpleNamespace
from unittest.mock import patch

import comfy.samplers
import torch
from comfy.ldm.modules.attention import attention_pytorch
from lumina_video_under_test.lumina_core import LuminaError, SamplingPlan
from lumina_video_under_test.lumina_core.sampling.timesteps import to_sigmas
from lumina_video_under_test.nodes import compile as compile_node
from lumina_video_under_test.nodes.compile import Compile
from lumina_video_under_test.nodes.host import ops as host_ops
from lumina_video_under_test.nodes.host.compilation import set_compiled
from lumina_video_under_test.nodes.host.conditioning import set_motion
from lumina_video_under_test.nodes.host.model_patches import set_patch_schedule
from lumina_video_under_test.nodes.host.sampling import OfficialNoise, make_guider
from lumina_video_under_test.nodes.host.video_model import load_model

# Not 8 by 8: as many tokens as a head has pairs would be taken for the same number, and cost a graph.
EMPTY = {"samples": torch.zeros(1, 16, 4, 8, 12)}
LENGTHS = (9, 5)
PATCHED = "diffusion_model.layers.1.feed_forward.w2.weight"


def main(checkpoint: str, plan: str) -> dict:
    """`plan`: JSON of the fields of a plan with several patch sizes, guided in part."""
    # Without a GPU the host takes an attention of many parts, which a compiler cannot follow; on one it takes torch's.
    with patch.object(host_ops, "optimized_attention", attention_pytorch):
        return checks(checkpoint, SamplingPlan(**json.loads(plan)))


def checks(checkpoint: str, plan: SamplingPlan) -> dict:
    model, graphs = load_model(checkpoint, torch.float32), []

    def count(module, example):
        graphs.append(module)
        return module.forward

    plain, changed = run(model, plan), run(with_lora(model), plan)
    compiled = set_compiled(model, backend=count, report=unexpected)
    keys = sorted(compiled.model.state_dict())
    found = run(compiled, plan)
    first = len(graphs)
    again, lora = run(compiled, plan), run(with_lora(compiled), plan)
    return {
        "error": largest(found, plain),
        "again": largest(again, plain),
        "lora": {"error": largest(lora, changed), "change": largest(changed, plain)},
        "graphs": [first, len(graphs)],
        "keys_kept": keys == sorted(model.model.state_dict()) and not any("_orig_mod" in key for key in keys),
        "left_behind": [type(layer).__name__ for layer in model.model.diffusion_model.layers],
        "replaced": len(set_compiled(compiled, backend=count).get_all_wrappers("apply_model")),
        "failure": failure(model, plan, plain),
        "missing": missing(model),
        "refused": refused(),
    }


def run(model, plan: SamplingPlan) -> torch.Tensor:
    """Latents of the host's euler."""
    generator = torch.Generator().manual_seed(1)
    texts = [torch.randn(1, length, 48, generator=generator) for length in LENGTHS]
    positive, negative = ([[text, {}]] for text in texts)
    positive, negative = set_motion(positive, str(plan.motion)), set_motion(negative, str(plan.negative_motion))
    guider = make_guider(set_patch_schedule(model, plan.patch), positive, negative, str(plan.guidance), plan.renorm)
    noise = OfficialNoise(7).generate_noise(EMPTY)
    sampler = comfy.samplers.sampler_object("euler")
    return guider.sample(noise, EMPTY["samples"], sampler, to_sigmas(plan.grid()), seed=7)


def with_lora(model):
    """A clone with a change of one weight, as the host's LoRA loader makes it."""
    weight = model.model.state_dict()[PATCHED]
    change = torch.randn(weight.shape, generator=torch.Generator().manual_seed(2))
    clone = model.clone()
    clone.add_patches({PATCHED: ("diff", (change,))}, 1.0, 1.0)
    return clone


def failure(model, plan: SamplingPlan, plain: torch.Tensor) -> dict:
    def broken(module, example):
        raise RuntimeError("no luck today")

    said = []
    found = run(set_compiled(model, backend=broken, report=said.append), plan)
    return {"said": said, "error": largest(found, plain)}


class NotShown(Compile):
    """As the host calls a node without a page."""

    hidden = SimpleNamespace(unique_id=None)


def missing(model) -> dict:
    """What the node says where the machine has no compiler; the MODEL then goes through."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger().addHandler(handler)
    real = compile_node.missing_requirement
    compile_node.missing_requirement = lambda device: "a C++ compiler (g++ or clang++)"
    try:
        out = NotShown.execute(model)
    finally:
        compile_node.missing_requirement = real
        logging.getLogger().removeHandler(handler)
    return {"same": out.args[0] is model, "said": lines}


def refused() -> str:
    class Other:
        model = torch.nn.Linear(1, 1)

    try:
        set_compiled(Other())
    except LuminaError as error:
        return str(error)
    return ""


def largest(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max())


def unexpected(sentence: str) -> None:
    raise AssertionError(sentence)
