"""What Lumina-V2A costs: parameters, evaluations, memory and time of one sound, with random weights.

    python benchmarks/sound_size.py --preset M --seconds 8 --steps 25

The network alone: the encoders run once before it and the codec once after it. --timed-steps measures fewer steps of
the same run and multiplies, for slow machines; the table says so. Prints a table and, as the last line, one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from audio_parts.section import SIZE, write_section  # noqa: E402
from tables.sections import table  # noqa: E402 - found through the lines above

from lumina_core.audio.features import CLIP_FPS, SYNC_FPS  # noqa: E402
from lumina_core.audio.synchformer import SEGMENT, SLOTS, STRIDE  # noqa: E402
from lumina_core.errors import LuminaError  # noqa: E402
from lumina_core.network.audio import AudioNextDiT  # noqa: E402
from lumina_core.network.audio_conditioning import AudioCondition  # noqa: E402
from lumina_core.network.audio_config import AUDIO_PRESETS, AudioConfig  # noqa: E402
from lumina_core.runtime.devices import pick_device, pick_dtype  # noqa: E402
from lumina_core.sampling.audio import AudioPlan, sample_audio  # noqa: E402
from lumina_core.sampling.step_update import StepUpdate  # noqa: E402
from lumina_core.sampling.video import SamplingCancelled  # noqa: E402


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=AUDIO_PRESETS, default="M", help="(default %(default)s)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of sound (default %(default)s)")
    parser.add_argument("--steps", type=int, default=AudioPlan().steps, help="(default %(default)s)")
    parser.add_argument("--timed-steps", type=int, help="steps that are run and timed (default: all)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default %(default)s)")
    parser.add_argument("--dtype", default="auto", help="auto, fp32, bf16 or fp16 (default %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="(default %(default)s)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table there: docs/results.md")
    args = parser.parse_args()
    args.timed_steps = args.timed_steps or args.steps
    if not 1 <= args.timed_steps <= args.steps:
        parser.error(f"--timed-steps is {args.timed_steps}; write a number from 1 to --steps ({args.steps}).")
    if args.seconds < 2 * SEGMENT / SYNC_FPS:
        parser.error(f"--seconds is {args.seconds:g}; write {2 * SEGMENT / SYNC_FPS:g} or more.")
    return args


def random_model(config: AudioConfig, device: torch.device, dtype: torch.dtype) -> AudioNextDiT:
    """Every weight random, also those that a training starts at zero, so that nothing is skipped."""
    with torch.device("meta"):
        model = AudioNextDiT(config)
    model = model.to(dtype).to_empty(device=device).eval().requires_grad_(False)
    generator = torch.Generator(device).manual_seed(0)
    for parameter in model.parameters():
        parameter.normal_(0, 0.02, generator=generator)
    model.null_text_mask.fill_(1)
    return model


def condition(config: AudioConfig, seconds: float) -> AudioCondition:
    """Random features of one clip, as many as a clip of that length has, and a text of 20 tokens."""
    generator = torch.Generator().manual_seed(1)
    frames = round(seconds * SYNC_FPS)
    counts = (round(seconds * CLIP_FPS), 1 + -(-(frames - SEGMENT) // STRIDE))
    mask = torch.arange(config.text_tokens) < 20
    return AudioCondition.of(
        torch.randn(1, counts[0], config.visual_dim, generator=generator),
        torch.randn(1, counts[1], SLOTS, config.sync_dim, generator=generator),
        torch.randn(1, config.text_tokens, config.text_dim, generator=generator),
        mask[None],
    )


def measure(args: argparse.Namespace) -> dict:
    config = AUDIO_PRESETS[args.preset]
    device = pick_device(args.device)
    dtype = pick_dtype(args.dtype, device)
    model = random_model(config, device, dtype)
    plan = AudioPlan(steps=args.steps)
    seen = condition(config, args.seconds)
    noise = torch.randn(1, config.channels, config.rows(args.seconds), config.bins).to(device, dtype)
    loaded = peak_bytes(device)
    seconds = timed(model, noise, plan, seen, args.timed_steps) * args.steps / args.timed_steps
    tokens = noise.shape[2] * noise.shape[3] // (config.patch[0] * config.patch[1])
    return {
        "benchmark": "sound_size",
        "preset": args.preset,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "sound_s": args.seconds,
        "tokens": tokens,
        "steps": args.steps,
        "nfe": plan.nfe,
        "passes": plan.passes(seen),
        "device": device_name(device, args.threads),
        "dtype": str(dtype).removeprefix("torch."),
        "weights_gib": sum(p.numel() * p.element_size() for p in model.parameters()) / 2**30,
        "peak_gib": peak_bytes(device) / 2**30,
        "peak_above_loaded_gib": (peak_bytes(device) - loaded) / 2**30,
        "timed_steps": args.timed_steps,
        "seconds": seconds,
        "real_time_factor": seconds / args.seconds,
    }


def device_name(device: torch.device, threads: int) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type}, {threads} thread(s)"


def timed(model: AudioNextDiT, noise: torch.Tensor, plan: AudioPlan, seen: AudioCondition, steps: int) -> float:
    """Seconds of the first ``steps`` steps, after a warm-up of one."""
    sample_audio(model, noise, AudioPlan(steps=1), seen)
    wait(noise.device)
    started = time.perf_counter()

    def enough(step: StepUpdate) -> bool:
        return step.step + 1 < steps or steps == step.steps

    try:
        sample_audio(model, noise, plan, seen, on_step=enough)
    except SamplingCancelled:
        pass
    wait(noise.device)
    return time.perf_counter() - started


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_bytes(device: torch.device) -> float:
    """Of the GPU's memory where it runs on one, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def show(found: dict) -> str:
    how = "" if found["timed_steps"] == found["steps"] else f", {found['timed_steps']} of {found['steps']} steps timed"
    rows = [
        ["parameters", f"{found['parameters'] / 1e6:.1f} M"],
        ["tokens", str(found["tokens"])],
        ["evaluations (NFE)", str(found["nfe"])],
        ["network passes", str(found["passes"])],
        [f"weights, {found['dtype']}", f"{found['weights_gib']:.2f} GiB"],
        ["peak memory", f"{found['peak_gib']:.2f} GiB"],
        ["peak above the loaded network", f"{found['peak_above_loaded_gib']:.2f} GiB"],
        [f"seconds on {found['device']}{how}", f"{found['seconds']:.2f}"],
        ["seconds per second of sound", f"{found['real_time_factor']:.3f}"],
    ]
    return table([f"{found['preset']}, {found['sound_s']:g} s, {found['steps']} steps", ""], rows)


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    try:
        found = measure(args)
    except LuminaError as error:
        sys.exit(str(error))
    print(show(found))
    if args.write:
        command = f"python benchmarks/sound_size.py {' '.join(sys.argv[1:])}"
        text = f"### What a large voice costs\n\nRandom weights, `{command}`:\n\n{show(found)}"
        write_section(args.write, text, SIZE)
        print(f"Wrote the costs of sound in {args.write}.")
    print(json.dumps({name: float(f"{v:.5g}") if isinstance(v, float) else v for name, v in found.items()}))


if __name__ == "__main__":
    main()
