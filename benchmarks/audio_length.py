"""Audio twice as long as the trained length, with and without RoPE scaling: `python benchmarks/audio_length.py`.

Unseen clips of the mini world are joined in pairs to 8 s, twice what the mini audio model was trained on, and the
onsets of the generated audio are compared with the events. Figures do not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.common.audio_clips import RATES, AudioGenerator, Clip, load_audio, unseen_clips  # noqa: E402
from benchmarks.common.audio_timing import figures_of  # noqa: E402
from benchmarks.common.harness import at_least, make_parser, progress, run  # noqa: E402
from lumina_core.evaluation.onsets import Agreement, find_onsets, match, pooled  # noqa: E402
from lumina_core.mini.audio_world import SECONDS  # noqa: E402
from lumina_core.sampling.audio import AudioPlan  # noqa: E402


def measure(args: argparse.Namespace) -> dict:
    model, pairs, rows = load_audio(None, AudioPlan()), joined(unseen_clips(4 * args.pairs)), []
    config = model.model.config
    for name, trained in (("off", None), ("auto", config.train_rows)):
        model.model.config = replace(config, train_rows=trained)
        rows.append({"rope": name, **figures_of(agreement(model, pairs))})
        progress(name)
    return {"pairs": len(pairs), "steps": model.plan.steps, "rows": rows}


def joined(clips: list[Clip]) -> list[tuple[Clip, Clip]]:
    """Neighbors of one frame rate; the rates of ``unseen_clips`` alternate."""
    step = len(RATES)
    return [(clips[i], clips[i + step]) for i in range(len(clips) - step) if i % (2 * step) < step]


def agreement(model: AudioGenerator, pairs: list[tuple[Clip, Clip]]) -> Agreement:
    """Of the onsets of all pairs with their events."""
    found = []
    for seed, (first, second) in enumerate(pairs):
        frames = torch.cat([first.frames(), second.frames()])
        wave = model.generate_for(frames, first.fps, first.caption, 2 * SECONDS, seed)
        found.append(match(find_onsets(wave).times, [*first.times, *(SECONDS + time for time in second.times)]))
    return pooled(found)


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--pairs", type=at_least(1), default=4, help="of each frame rate (default %(default)s)")
    run("audio_length", parser.parse_args(), measure)
