"""Figure 3: loss of each patch size over twenty windows of flow time, on drawn clips of held-out combinations."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch

from lumina_core.media.motion_score import dis_flow, motion_score
from lumina_core.mini.draw import draw
from lumina_core.shapes.schedules import PatchSize
from lumina_core.train.objective import item_losses, noised

from .mini import Mini, Prompt

WINDOWS = 20
APART = 0.05
"""Share by which a coarser patch size's loss exceeds the finest's where the curves are said to part."""


@torch.no_grad()
def figure_3(mini: Mini, prompts: list[Prompt], report: Callable[[str], None]) -> dict:
    """Mean squared error of the velocity per patch size and window; every patch size sees the same clips and noise.

    In each window, clip i is asked at its own place, so that the clips together cover the window evenly.
    """
    flow = dis_flow()
    clips = [draw(prompt.scene) for prompt in prompts]
    motion = torch.tensor([motion_score(clip, mini.bundle.fps, flow) for clip in clips])
    data = torch.cat([mini.vae.encode(clip) for clip in clips])
    noise = torch.cat([mini.noise(i) for i in range(len(prompts))])
    (text, mask), _ = mini.texts(prompts)
    places = (torch.arange(len(prompts)) + 0.5) / len(prompts)
    losses: dict[str, list[float]] = {}
    for patch in sorted(mini.model.config.patches, key=_tokens):
        curve = []
        for window in range(WINDOWS):
            t = (window + places) / WINDOWS
            velocity = mini.model(noised(data, noise, t), t, text, mask, motion, patch)
            curve.append(float(item_losses(velocity, data, noise)[0].mean()))
        losses[str(patch)] = curve
        report(f"{patch}: {sum(curve) / WINDOWS:.3f}")
    edges = [window / WINDOWS for window in range(WINDOWS + 1)]
    return {"edges": edges, "loss": losses, "parts_from": parting(losses, edges), "clips": len(prompts)}


def parting(losses: dict[str, list[float]], edges: list[float]) -> dict[str, float | None]:
    """For every patch size but the finest (the first): where its loss begins to exceed the finest's for good."""
    finest, *coarser = losses
    found: dict[str, float | None] = {}
    for name in coarser:
        above = [loss > (1 + APART) * fine for loss, fine in zip(losses[name], losses[finest], strict=True)]
        tail = next((i for i in range(len(above)) if all(above[i:])), None)
        found[name] = None if tail is None else edges[tail]
    return found


def plot(result: dict, target: Path) -> None:
    """Write the curves as a PNG. Raises ImportError where matplotlib is not installed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    middles = [(a + b) / 2 for a, b in pairwise(result["edges"])]
    figure, axes = pyplot.subplots(figsize=(6.4, 4), dpi=120)
    for (name, curve), marker in zip(result["loss"].items(), "os^Dv", strict=False):
        axes.plot(middles, curve, marker=marker, markersize=4, label=f"patch size {name}")
    axes.set(
        xlabel="flow time t (0 noise, 1 data)",
        ylabel="squared error of the velocity",
        xlim=(0, 1),
        title="Loss of each patch size on held-out clips",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_suffix(".part")
    figure.savefig(half, format="png")
    half.replace(target)
    pyplot.close(figure)


def _tokens(patch: PatchSize) -> int:
    return patch.frames * patch.space**2
