"""Figure 3: loss of each patch size over twenty windows of flow time, on drawn clips of held-out combinations."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.common.harness import progress
from benchmarks.common.mini_clips import Mini, Prompt
from lumina_core.media.motion_score import dis_flow, motion_score
from lumina_core.mini.draw import draw
from lumina_core.train.objective import item_losses, noised

WINDOWS = 20


@torch.no_grad()
def figure_3(mini: Mini, prompts: list[Prompt]) -> list[dict]:
    """Mean squared error of the velocity per window (`start`, `end`) and patch size; same clips and noise for all.

    In each window, clip i is evaluated at its own t, so that the clips together cover the window evenly.
    """
    flow = dis_flow()
    clips = [draw(prompt.scene) for prompt in prompts]
    motion = torch.tensor([motion_score(clip, mini.bundle.fps, flow) for clip in clips])
    data = torch.cat([mini.vae.encode(clip) for clip in clips])
    noise = torch.cat([mini.noise(i) for i in range(len(prompts))])
    (text, mask), _ = mini.texts(prompts)
    places = (torch.arange(len(prompts)) + 0.5) / len(prompts)
    rows = [{"start": window / WINDOWS, "end": (window + 1) / WINDOWS} for window in range(WINDOWS)]
    for patch in sorted(mini.model.config.patches, key=lambda patch: patch.frames * patch.space**2):
        for window, row in enumerate(rows):
            t = (window + places) / WINDOWS
            velocity = mini.model(noised(data, noise, t), t, text, mask, motion, patch)
            row[str(patch)] = float(item_losses(velocity, data, noise)[0].mean())
        progress(f"loss of patch size {patch}")
    return rows


def plot(rows: list[dict], target: Path) -> None:
    """Write the curves as a PNG. Raises ImportError where matplotlib is not installed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4), dpi=120)
    for name, marker in zip([key for key in rows[0] if "x" in key], "os^", strict=False):
        middles = [(row["start"] + row["end"]) / 2 for row in rows]
        axes.plot(middles, [row[name] for row in rows], marker=marker, markersize=4, label=f"patch size {name}")
    axes.set(
        xlabel="flow time t (0 noise, 1 data)",
        ylabel="squared error of the velocity",
        xlim=(0, 1),
        title="Loss of each patch size on held-out clips",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(target, format="png")
    pyplot.close(figure)
