"""What the approximate options save and what they cost: `python benchmarks/options.py --write docs/performance.md`.

The mini bundle makes clips of prompts that were never trained, one by one: exactly, and with each option from the same
noise. Beside them, where a ComfyUI is found, its own EasyCache node on our MODEL. Prints a table and, as the last line,
one JSON object. Time is CPU time of one thread, each option in turn for every prompt, so other processes hardly show.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "tests" / "host")]

from hosts import HOW_TO_POINT, find_hosts  # noqa: E402 - found through the line above
from load import Others  # noqa: E402
from performance import write_section  # noqa: E402
from run_inside import run_inside  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from tables.mini import Mini, held_out_prompts, load  # noqa: E402
from tables.options import Clip, Option, coarser, document, headline, psnr, rows  # noqa: E402
from tables.quality import measure  # noqa: E402

from lumina_core.checkpoints.video import find_weights  # noqa: E402
from lumina_core.errors import LuminaError  # noqa: E402
from lumina_core.media.motion_score import dis_flow, motion_score  # noqa: E402
from lumina_core.sampling.video import sample  # noqa: E402

EXACT = "exact"
TOLERANCES = (0.1, 0.2, 0.3, 0.4)
EASY_THRESHOLDS = (0.05, 0.2)
"""The second is the host's default."""
HOST_SCRIPT = ROOT / "benchmarks" / "options_host.py"
SECTION = "approximate"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="mini", help="name or folder of a bundle (default %(default)s)")
    parser.add_argument("--prompts", type=int, default=60, help="clips of each option (default %(default)s)")
    parser.add_argument("--tolerances", type=float, nargs="*", default=TOLERANCES, metavar="T",
                        help="of the step cache (default %(default)s)")  # fmt: skip
    parser.add_argument("--thresholds", type=float, nargs="*", default=EASY_THRESHOLDS, metavar="T",
                        help="of EasyCache; none leaves it out (default %(default)s)")  # fmt: skip
    parser.add_argument("--cache-only", action="store_true", help="leave out 8-bit weights and the coarser schedule")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the section there: docs/performance.md")
    given = parser.parse_args()
    if given.prompts < 2:
        parser.error(f"--prompts is {given.prompts}; write at least 2, for a standard error.")
    return given


def options(mini: Mini, given: argparse.Namespace) -> dict[str, Option]:
    """Name to plan and network, the exact one first."""
    plan = mini.default
    found = {EXACT: Option(plan, mini.model)}
    found |= {f"step cache {t:g}": Option(plan.replace(cache=t), mini.model) for t in given.tolerances}
    if not given.cache_only:
        for name in ("float8_e4m3fn", "float8_e5m2"):
            short = name.replace("float8", "fp8")
            found[f"{short} weights"] = Option(plan, rounded_weights(mini.model, getattr(torch, name)))
        found["switches at twice their t"] = Option(coarser(plan), mini.model)
    return found


def rounded_weights(model: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """A copy whose weights went through ``dtype``, as the host stores them: plainly, without scales."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.to(dtype).to(parameter.dtype))
    return model


def measure_all(mini: Mini, given: argparse.Namespace) -> dict[str, list[Clip]]:
    """Clips of every option, in the order of the prompts."""
    prompts, chosen = held_out_prompts(given.prompts), options(mini, given)
    (features, mask), negative = mini.texts(prompts)
    latents: dict[str, list] = {name: [] for name in chosen}
    for i in range(len(prompts)):
        text = features[i : i + 1], mask[i : i + 1]
        for name, option in chosen.items():
            latents[name].append(sampled_clip(option, mini.noise(i), text, negative))
        print(f"  {i + 1} of {len(prompts)} prompts", file=sys.stderr, flush=True)
    if given.thresholds:
        latents |= easy_cache(mini, given.thresholds, (features, mask), negative[0])
    flow = dis_flow()
    return {
        name: [
            read_clip(mini, sampled, exact[0], prompt, flow)
            for sampled, exact, prompt in zip(of_option, latents[EXACT], prompts, strict=True)
        ]
        for name, of_option in latents.items()
    }


def sampled_clip(option: Option, noise: torch.Tensor, text, negative) -> tuple[torch.Tensor, list[int], float]:
    """Latents, the steps whose evaluation was computed, and seconds of this thread."""
    computed: list[int] = []

    def watch(info) -> None:
        if not info.reused:
            computed.append(info.step)

    started = time.thread_time()
    latents = sample(option.model, noise, option.plan, text, negative, on_step=watch)
    return latents, computed, time.thread_time() - started


def easy_cache(mini: Mini, thresholds, text, negative: torch.Tensor) -> dict[str, list]:
    """The same clips by the host with its own EasyCache node; nothing where no host is found."""
    hosts, missed = find_hosts()
    if not hosts:
        print(" ".join([*missed, HOW_TO_POINT]), file=sys.stderr)
        return {}
    with tempfile.TemporaryDirectory() as folder:
        asked, found = Path(folder) / "asked.safetensors", Path(folder) / "found.safetensors"
        (features, mask), noises = text, torch.cat([mini.noise(i) for i in range(len(text[0]))])
        tensors = {"noise": noises, "text": features, "length": mask.sum(1), "negative": negative}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, asked)
        case = json.dumps({"plan": mini.default.as_dict(), "thresholds": list(thresholds)})
        checkpoint = find_weights(mini.bundle.checkpoint)
        steps = run_inside(hosts[0], str(HOST_SCRIPT), checkpoint, asked, found, case, timeout=7200)["computed"]
        latents = load_file(found)
    return {
        f"EasyCache {name}, ComfyUI {hosts[0].version}": [
            (clip[None], computed, None) for clip, computed in zip(latents[name], steps[name], strict=True)
        ]
        for name in steps
    }


def read_clip(mini: Mini, sampled, exact: torch.Tensor, prompt, flow) -> Clip:
    latents, computed, seconds = sampled
    frames = mini.vae.decode(latents)
    return Clip(
        computed=computed,
        seconds=seconds,
        psnr=None if latents is exact else psnr(exact, latents),
        accuracy=measure(frames, prompt).accuracy,
        motion=motion_score(frames, mini.bundle.fps, flow),
    )


def main() -> None:
    given = arguments()
    torch.set_num_threads(1)
    try:
        mini = load(given.bundle)
        with Others() as others:
            clips = measure_all(mini, given)
    except LuminaError as error:
        sys.exit(str(error))
    found = rows(mini, clips, options(mini, given), EXACT)
    result = {**headline(found), "prompts": given.prompts, "others_cores": others.cores, "rows": found}
    text = document(result, f"python benchmarks/options.py {' '.join(sys.argv[1:])}".strip())
    print(text)
    if given.write:
        write_section(given.write, SECTION, text)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
