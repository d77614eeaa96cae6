"""Figure 3: loss of each patch size over twenty windows of flow time, on drawn clips of held-out combinations."""

from __future__ import annotations

import torch

from benchmarks.common.harness import progress
from benchmarks.common.mini_clips import network_of, noise_of, texts_of
from lumina_core.media.motion_score import dis_flow, motion_score
from lumina_core.mini.draw import draw
from lumina_core.mini.prompts import Prompt
from lumina_core.pipelines.video import LuminaVideoPipeline
from lumina_core.sampling.noise import noised
from lumina_core.train.objective import sample_losses

WINDOWS = 20


@torch.no_grad()
def figure_3(pipe: LuminaVideoPipeline, prompts: list[Prompt]) -> list[dict]:
    """Mean squared error of the velocity per window (`start`, `end`) and patch size; same clips and noise for all.

    In each window, clip i is evaluated at its own t, so that the clips together cover the window evenly.
    """
    flow = dis_flow()
    clips = [draw(prompt.scene) for prompt in prompts]
    motion = torch.tensor([motion_score(clip, pipe.defaults.fps, flow) for clip in clips])
    data = torch.cat([pipe.encode_frames(clip) for clip in clips])
    noise = noise_of(pipe, len(prompts))
    (text, mask), _ = texts_of(pipe, prompts)
    places = (torch.arange(len(prompts)) + 0.5) / len(prompts)
    rows = [{"start": window / WINDOWS, "end": (window + 1) / WINDOWS} for window in range(WINDOWS)]
    with network_of(pipe) as network:
        for patch in sorted(network.config.patches, key=lambda patch: patch.frames * patch.space**2):
            for window, row in enumerate(rows):
                t = (window + places) / WINDOWS
                velocity = network(noised(data, noise, t), t, text, mask, motion, patch)
                row[str(patch)] = float(sample_losses(velocity, data, noise)[0].mean())
            progress(f"loss of patch size {patch}")
    return rows
