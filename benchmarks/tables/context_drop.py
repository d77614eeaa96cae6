"""The tables of Context Drop: what it saves by FLOPs, what it costs, and whether the recommended setting holds."""

from __future__ import annotations

from performance import section

from lumina_core.cost.flops import REFERENCE, TYPICAL_TEXT, forward_cost, plan_cost
from lumina_core.network.config import VideoConfig
from lumina_core.network.context_drop import RECOMMENDED
from lumina_core.sampling.presets import PRESETS, preset_clip

from .options import MOST_LOST, MOST_MOTION
from .sections import prose, table

LARGE, SMALL = "f24F96R960", "f16F64R512"
MULTI_SCALE = "-MultiScale"
MOST_FLOPS = 0.65
"""Of a pass at t = 0 in the 1x2 segment."""
INTRODUCTION = (
    "Off by default. Up to a flow time T the first layers read keys and values that are averages over 2 x 2 patches; "
    "at t = 0 all layers do, and ever fewer until T (see `network/context_drop.py`). T = 1 is the paper's rule."
)
COMPUTED = (
    "A pass of the released network at {patch} and t = 0, by FLOPs (computed): {passes}. Wanted: at most {most} of the "
    "pass without it, at both sizes: {met}."
)
WHOLE = "Whole released schedules, FLOPs over those without Context Drop (computed):"
BLOCK = (
    "One block of the released width with random weights over {tokens} tokens ({patch} at {size}), float32, CPU time "
    "of one thread, with pooled keys over that without: {time:.2f}; by FLOPs {flops:.2f}. On a GPU: not yet measured."
)
MEASURED = (
    "The mini bundle makes the same {prompts} clips (prompts of combinations that were never trained, plan "
    "`mini-MultiScale`, float32, one clip at a time) exactly and with each setting, from the same noise. Columns as in "
    "the section on approximate options; other processes used {others} cores meanwhile."
)
READING = (
    "The mini bundle is the hard case: at 1x2 a frame is 4 x 4 patches and a pooled key covers a quarter of it, at 2x4 "
    "all of it, against 44 x 78 patches at {size}; and self-attention is a small part of its FLOPs, so it hardly gets "
    "faster. Quality at the real size is not yet measured."
)


def passes() -> dict[str, dict]:
    """FLOPs of a pass with every layer dropping over those of a plain one, at 1x2 of both released sizes."""
    found = {}
    for name in (LARGE, SMALL):
        size, config = preset_clip(name).size, VideoConfig()
        plain, pooled = (
            forward_cost(config, size.latent(), REFERENCE, TYPICAL_TEXT.positive, layers).total
            for layers in (0, config.layers)
        )
        found[name] = {"size": f"{size.width}x{size.height}x{size.frames}", "flops": pooled / plain}
    return found


def schedules(settings: list[float]) -> dict[str, dict[str, float]]:
    """Of each released schedule, FLOPs at each setting over those without."""
    found = {}
    for name in (LARGE, LARGE + MULTI_SCALE, SMALL, SMALL + MULTI_SCALE):
        plan, size = PRESETS[name], preset_clip(name).size.latent()
        costs = [plan_cost(plan.replace(context_drop=t), size, VideoConfig()).flops for t in settings]
        found[name] = {f"{t:g}": cost / costs[0] for t, cost in zip(settings, costs, strict=True)}
    return found


def verdict(rows: list[dict]) -> dict:
    """The recommended setting's figures, and whether it stays within its bounds."""
    row = next((row for row in rows if row["until"] == RECOMMENDED and not row["cache"]), None)
    if row is None:
        return {"recommended": RECOMMENDED, "met": None}
    held = row["accuracy_change"] >= -MOST_LOST and abs(row["motion_change"]) <= MOST_MOTION
    names = ("accuracy_change", "accuracy_error", "motion_change", "motion_error")
    return {"recommended": RECOMMENDED, "met": held, **{name: row[name] for name in names}}


def document(result: dict, command: str) -> str:
    """The section of docs/performance.md."""
    others = "an unknown number of" if result["others_cores"] is None else f"{result['others_cores']:.1f}"
    parts = [
        prose(INTRODUCTION),
        prose(_computed(result["passes"])),
        prose(WHOLE),
        _schedule_table(result["schedules"]),
        *([prose(_block(result["block"]))] if result["block"] else []),
        prose(MEASURED.format(prompts=result["prompts"], others=others)),
        _quality_table(result["rows"]),
        prose(_verdict(result)),
        prose(READING.format(size=result["passes"][LARGE]["size"])),
    ]
    return section("context drop", *parts, command=command)


def _computed(found: dict[str, dict]) -> str:
    told = ", ".join(f"{row['flops']:.2f} at {row['size']}" for row in found.values())
    met = all(row["flops"] <= MOST_FLOPS for row in found.values())
    return COMPUTED.format(patch=REFERENCE, passes=told, most=MOST_FLOPS, met="yes" if met else "**no**")


def _schedule_table(found: dict[str, dict[str, float]]) -> str:
    settings = list(next(iter(found.values())))
    return table(
        ["schedule", *(f"T = {t}" for t in settings if t != "0")],
        [[f"`{name}`", *(f"{row[t]:.2f}" for t in settings if t != "0")] for name, row in found.items()],
    )


def _block(found: dict) -> str:
    size = preset_clip(SMALL).size
    return BLOCK.format(patch=REFERENCE, size=f"{size.width}x{size.height}x{size.frames}", **found)


def _quality_table(rows: list[dict]) -> str:
    head = ["setting", "evaluations", "FLOPs", "time", "PSNR, dB", "accuracy", "change, points", "motion", "change, %"]
    cells = [
        [
            r["option"], f"{r['computed']:.1f} of {r['of']}", f"{r['flops']:.2f}", f"{r['time']:.2f}",
            "" if r["psnr"] is None else f"{r['psnr']:.1f}", f"{r['accuracy']:.1f} %",
            f"{r['accuracy_change']:+.1f} ± {r['accuracy_error']:.1f}", f"{r['motion']:.2f}",
            f"{r['motion_change']:+.1f} ± {r['motion_error']:.1f}",
        ]
        for r in rows
    ]  # fmt: skip
    return table(head, cells)


def _verdict(result: dict) -> str:
    if result["met"] is None:
        return f"The recommended T = {result['recommended']:g} was not measured in this run."
    return (
        f"Recommended, and the node's default: T = {result['recommended']:g}. It changes accuracy by "
        f"{result['accuracy_change']:+.1f} ± {result['accuracy_error']:.1f} points and motion by "
        f"{result['motion_change']:+.1f} ± {result['motion_error']:.1f} %, within the bounds of {MOST_LOST:g} point "
        f"lost and {MOST_MOTION:g} %: {'yes' if result['met'] else '**no**'}."
    )
