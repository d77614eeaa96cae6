"""Inside the host: what it is told that a run needs, what it then loads, and what happens when memory runs out.

On a processor the host always loads everything. To make it stream, these checks tell it that the processor is a device
like a GPU and that little of its memory is free; everything else is the host's own code.
"""

import contextlib
import importlib.util
import logging
import sys
from pathlib import Path
from unittest.mock import patch

import comfy.model_management as management
import comfy.sampler_helpers
import torch
from comfy.ldm.modules.attention import attention_pytorch
from lumina_video_under_test.lumina_core.network import next_dit
from lumina_video_under_test.lumina_core.network.config import VideoConfig
from lumina_video_under_test.lumina_core.network.video import MultiScaleNextDiT
from lumina_video_under_test.lumina_core.shapes.schedules import parse_patch
from lumina_video_under_test.nodes.host import ops as host
from lumina_video_under_test.nodes.host import video_model as model_support
from lumina_video_under_test.nodes.host.audio_model import load_audio
from lumina_video_under_test.nodes.host.memory_use import set_current_patcher_early
from lumina_video_under_test.nodes.host.model_patches import set_patch_schedule
from lumina_video_under_test.nodes.host.video_model import LuminaVideoConfig, load_model, make_patcher

import nodes

MIB = 2**20
CPU = torch.device("cpu")
TEXT_WIDTH = 48
LARGE = {"samples": torch.zeros(1, 16, 24, 88, 156)}
WIDE = VideoConfig(dim=768, layers=6, heads=8, kv_heads=4, ffn_hidden=2048, text_dim=TEXT_WIDTH, cond_dim=768)


def main(checkpoint: str, sound: str, tensor_memory: str) -> dict:
    """`tensor_memory`: the file of the benchmarks' counter."""
    tiny, wide = load_model(checkpoint, torch.float32), wide_model()
    counter = module_at(tensor_memory).TensorMemory
    return {
        "counted": counted(wide, load_audio(sound, torch.float32), counter),
        "told": told(tiny),
        "batches": {name: batches(tiny, name) for name in ("1x2", "2x4", "2x4 | 0.5: 1x2")},
        "partial": partial_loading(tiny),
        "capped": capped(wide),
        "loaded_for": loaded_for(wide),
        "oom": out_of_memory(tiny),
        "no_bf16": {str(dtype): without_bf16(checkpoint, dtype) for dtype in (None, torch.bfloat16)},
    }


def wide_model():
    """A network large enough that the hosts' own least loads, up to 128 MiB, are a part of it."""
    torch.manual_seed(0)
    network = MultiScaleNextDiT(WIDE)
    weights = {name: w.detach() + 0.01 * torch.randn_like(w) for name, w in network.state_dict().items()}
    return set_current_patcher_early(make_patcher(LuminaVideoConfig({"config": WIDE}), weights, torch.float32, False))


def module_at(file: str):
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def counted(model, sound, counter) -> list[dict]:
    """Bytes that the host is told beside those that one call really holds, with an attention that keeps no scores."""
    with (
        patch.object(host, "optimized_attention", attention_pytorch),
        patch.object(management, "pytorch_attention_flash_attention", lambda: True),
        # What is done for processors alone: on the GPU that this stands for, large items go together.
        patch.object(next_dit, "CPU_SPLIT_TOKENS", sys.maxsize),
    ):
        return [*counted_video(model, counter), counted_sound(sound, counter)]


def counted_video(model, counter) -> list[dict]:
    rows = []
    for schedule in ("1x2", "2x2", "2x4"):
        for items in (1, 2):
            x, text = torch.randn(items, 16, 8, 32, 32), torch.randn(items, 256, TEXT_WIDTH)
            patched = with_patch(model, schedule)
            options = {**patched.model_options["transformer_options"], "sample_sigmas": torch.linspace(1, 0, 3)}
            with counter() as live:
                patched.model.apply_model(x, torch.full((items,), 0.5), c_crossattn=text, transformer_options=options)
            patched.pre_run()
            rows.append({"case": f"{schedule}, {items}", "told": patched.memory_required(x.shape), "held": live.peak})
            patched.cleanup()
    return rows


def counted_sound(model, counter) -> dict:
    """The same for sound of 8 s, two items."""
    config, seconds = model.model.diffusion_model.config, 8
    x = torch.randn(2, config.channels, config.latent_frames(seconds), config.bins)
    features = {
        "c_crossattn": torch.randn(2, config.text_tokens, config.text_dim),
        "visual": torch.randn(2, int(seconds * config.clip_fps), config.visual_dim),
        "sync": torch.randn(2, 24, 8, config.sync_dim),
        "text_mask": torch.ones(2, config.text_tokens, dtype=torch.int),
        "no_video": torch.zeros(2, 1, dtype=torch.int),
        "no_text": torch.zeros(2, 1, dtype=torch.int),
    }
    with counter() as live:
        model.model.apply_model(x, torch.full((2,), 0.5), transformer_options={}, **features)
    return {"case": "sound", "told": model.memory_required(x.shape), "held": live.peak}


def with_patch(model, text: str):
    return set_patch_schedule(model, parse_patch(text))


def conditioning() -> tuple[list, list]:
    features = torch.randn(2, 6, TEXT_WIDTH, generator=torch.Generator().manual_seed(1))
    return [[features[:1], {}]], [[features[1:], {}]]


def ksampler(model, steps: int = 2, latent: dict | None = None, cfg: float = 5.0) -> torch.Tensor:
    latent = latent or {"samples": torch.zeros(1, 16, 4, 8, 8)}
    (out,) = nodes.common_ksampler(model, 7, steps, cfg, "euler", "simple", *conditioning(), latent)
    return out["samples"]


@contextlib.contextmanager
def calls_of(model):
    """Batch size and bytes of weights that the host counts as loaded, for every call of the network."""
    network, seen = model.model.diffusion_model, []
    inner = network.velocity

    def velocity(x, *args, **kwargs):
        seen.append((len(x), model.model.model_loaded_weight_memory))
        return inner(x, *args, **kwargs)

    network.velocity = velocity
    try:
        yield seen
    finally:
        del network.velocity


def free_bytes(count: float):
    def answer(dev=None, torch_free_too=False):
        return (count, count) if torch_free_too else count

    return patch.object(management, "get_free_memory", answer)


@contextlib.contextmanager
def device_with(free: float, state: str = "NORMAL_VRAM"):
    """The host takes the processor for a GPU, with so many bytes free beside what is loaded and fused attention."""
    with (
        free_bytes(free),
        patch.object(management, "is_device_cpu", lambda device: False),
        patch.object(management, "vram_state", management.VRAMState[state]),
        # As on an NVIDIA card: weights have no share of the memory that a run needs.
        patch.object(management, "MIN_WEIGHT_MEMORY_RATIO", 0.0),
        patch.object(management, "pytorch_attention_flash_attention", lambda: True),
    ):
        yield


def told(model) -> dict:
    """What the host hears, by the run's schedule: when it loads (two items, one item), and in each call after."""
    answers = {}
    inner = model.model.memory_required
    for schedule in (None, "1x2", "2x2", "2x4", "2x4 | 0.5: 2x2"):
        seen = answers[str(schedule)] = []

        def record(input_shape, cond_shapes=None, seen=seen):
            seen.append([list(input_shape), inner(input_shape, cond_shapes)])
            return seen[-1][1]

        with (
            patch.object(management, "pytorch_attention_flash_attention", lambda: True),
            patch.object(model.model, "memory_required", record),
        ):
            ksampler(with_patch(model, schedule) if schedule else model, 1)
    answers["of no run"] = inner([1, 16, 4, 8, 8])
    with patch.object(management, "pytorch_attention_flash_attention", lambda: True):
        answers["of the patcher"] = model.memory_required([1, 16, 4, 8, 8])
    answers["factor"] = model.model.memory_usage_factor
    return answers


def batches(model, schedule: str) -> list[int]:
    """Items per network call where one item of the finest patch size just fits."""
    latent = torch.zeros(1, 16, 8, 16, 16)
    with patch.object(management, "pytorch_attention_flash_attention", lambda: True):
        one = model.memory_required(latent.shape)
    model = with_patch(model, schedule)
    management.load_models_gpu([model])
    with calls_of(model) as seen, free_bytes(2 * one):
        with patch.object(management, "pytorch_attention_flash_attention", lambda: True):
            ksampler(model, latent={"samples": latent})
    return [items for items, _ in seen]


def partial_loading(model) -> list[dict]:
    """One forward with a part of the weights streamed, against all of them loaded, with and without a LoRA."""
    x = torch.randn(1, 16, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    text = torch.randn(1, 6, TEXT_WIDTH, generator=torch.Generator().manual_seed(3))
    key = "diffusion_model.layers.0.attention.wq.weight"
    lora = model.clone()
    width = model.model.diffusion_model.config.dim
    lora.add_patches({key: ("diff", (torch.eye(width),))})
    rows = []
    for patcher in (model, lora):
        full = None
        for share in (2.0, 0.5, 0.2, 0.0):
            patcher.detach()
            patcher.partially_load(CPU, share * patcher.model_size())
            out = patcher.model.apply_model(x, torch.tensor([0.5]), c_crossattn=text)
            full = out if full is None else full
            streamed = [m for m in patcher.model.modules() if hasattr(m, "prev_comfy_cast_weights")]
            rows.append(
                {
                    "share": share,
                    "loaded": patcher.model.model_loaded_weight_memory / patcher.model_size(),
                    "streamed": len(streamed),
                    "error": float((out - full).abs().max()),
                    "norm": float(full.norm()),
                }
            )
        patcher.detach()
    return rows


def capped(model) -> list[dict]:
    """A run with little free memory, against one with all of it."""
    management.unload_all_models()
    # Without guidance, which would enlarge what other kernels round otherwise for weights that are streamed.
    full = ksampler(model, cfg=1.0)
    rows = []
    for state, cap in (("NORMAL_VRAM", 160 * MIB), ("LOW_VRAM", 140 * MIB), ("NO_VRAM", 0)):
        model.detach()
        management.current_loaded_models.clear()
        with device_with(management.minimum_inference_memory() + cap, state), calls_of(model) as seen:
            out = ksampler(model, cfg=1.0)
        rows.append(
            {
                "state": state,
                "cap": cap,
                "loaded": sorted({loaded for _, loaded in seen}),
                "calls": len(seen),
                "size": model.model_size(),
                "error": float((out - full).abs().max()),
                "norm": float(full.norm()),
            }
        )
    model.detach()
    return rows


def loaded_for(model) -> dict:
    """Weights that the host loads for 96 frames of 1248x704 on a device that holds them and one finest call, barely."""
    shape = list(LARGE["samples"].shape)
    loaded = {}
    with device_with(0):
        need = with_patch(model, "1x2").memory_required(shape) + management.extra_reserved_memory()
    for schedule in ("1x2", "2x2", "2x4"):
        patched = with_patch(model, schedule)
        model.detach()
        management.current_loaded_models.clear()
        conds = {"positive": [], "negative": []}
        options = {"transformer_options": {**patched.model_options["transformer_options"]}}
        comfy.sampler_helpers.prepare_model_patcher(patched, conds, options)
        with device_with(need + 130 * MIB):
            comfy.sampler_helpers.prepare_sampling(patched, shape, conds, options)
        loaded[schedule] = patched.model.model_loaded_weight_memory / patched.model_size()
    model.detach()
    return loaded


class Log(logging.Handler):
    """What we write into the host's log between `with` and its end, at the host's own level."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        if record.getMessage().startswith("Lumina-Video"):
            self.lines.append(record.getMessage())

    def __enter__(self):
        root = logging.getLogger()
        self.before = root.level
        root.setLevel(logging.INFO)
        root.addHandler(self)
        return self

    def __exit__(self, *_):
        logging.getLogger().removeHandler(self)
        logging.getLogger().setLevel(self.before)


def out_of_memory(model) -> dict:
    """Runs on a device that holds so many items at once; another model lies loaded beside."""
    network, other = model.model.diffusion_model, load_other(model)
    management.unload_all_models()
    expected = ksampler(model, 3)
    inner, limit, seen = network._run, 2, []

    def run(x, t, context, options, *rest):
        seen.append([len(x), list(options["cond_or_uncond"])])
        if len(x) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return inner(x, t, context, options, *rest)

    report = {}
    with patch.object(network, "_run", run), Log() as log:
        for limit in (1, 2, 0):
            seen.clear()
            log.lines.clear()
            management.load_models_gpu([other])
            for loaded in management.current_loaded_models:
                # Which the host does itself on a device that is not the processor.
                loaded.currently_used = False
            try:
                found, error = ksampler(model, 3), None
            except Exception as caught:
                found, error = None, caught
            report[str(limit)] = {
                "seen": list(seen),
                "log": list(log.lines),
                "error": None if found is None else float((found - expected).abs().max()),
                "refusal": error and str(error),
                "host_sees_oom": isinstance(error, management.OOM_EXCEPTION),
                "kept": [loaded.model.model is model.model for loaded in management.current_loaded_models],
            }
    return report


def load_other(model):
    """A second, unrelated MODEL that the host keeps loaded."""
    network = MultiScaleNextDiT(model.model.diffusion_model.config)
    config = LuminaVideoConfig({"config": network.config})
    return make_patcher(config, dict(network.state_dict()), torch.float32, False)


def without_bf16(checkpoint: str, dtype: torch.dtype | None) -> dict:
    """What a device with fp16 and without bf16 computes in, and what is said of it."""
    with (
        Log() as log,
        patch.object(management, "should_use_bf16", lambda *_, **__: False),
        patch.object(management, "should_use_fp16", lambda *_, **__: True),
        patch.object(model_support, "bf16_unsupported_reason", lambda device: "this card has no bf16"),
    ):
        model = load_model(checkpoint, dtype).model
    return {"stored": str(model.get_dtype()), "cast": str(model.manual_cast_dtype), "log": log.lines}
