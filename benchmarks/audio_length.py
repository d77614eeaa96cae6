"""Audio twice as long as the trained length, with and without RoPE scaling: `python -m benchmarks.audio_length`.

Unseen clips of the mini world are joined in pairs to 8 s, twice what the mini audio model was trained on, and the
onsets of the generated audio are compared with the events. Figures do not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch

from benchmarks.common.audio_clips import RATES, AudioGenerator, Clip, unseen_clips
from benchmarks.common.audio_timing import figures_of
from benchmarks.common.harness import at_least, make_parser, progress, run
from lumina_core.checkpoints.audio import load_audio_model
from lumina_core.evaluation.onsets import Agreement, find_onsets, match, pooled
from lumina_core.mini.audio_world import SECONDS


def measure(args: argparse.Namespace) -> dict:
    generator, pairs, rows = AudioGenerator(), joined(unseen_clips(4 * args.pairs)), []
    pipe = generator.pipe
    with pipe.network("model", lambda: load_audio_model(pipe.files.model)) as model:
        config = model.config
        for name, trained in (("off", None), ("auto", config.train_rows)):
            model.config = replace(config, train_rows=trained)
            rows.append({"rope": name, **figures_of(agreement(generator, pairs))})
            progress(name)
    return {"pairs": len(pairs), "steps": generator.plan.steps, "rows": rows}


def joined(clips: list[Clip]) -> list[tuple[Clip, Clip]]:
    """Neighbors of one frame rate; the rates of ``unseen_clips`` alternate."""
    step = len(RATES)
    return [(clips[i], clips[i + step]) for i in range(len(clips) - step) if i % (2 * step) < step]


def agreement(generator: AudioGenerator, pairs: list[tuple[Clip, Clip]]) -> Agreement:
    """Of the onsets of all pairs with their events."""
    found = []
    for seed, (first, second) in enumerate(pairs):
        frames = torch.cat([first.frames(), second.frames()])
        wave = generator.generate_for(frames, first.fps, first.caption, seed)
        found.append(match(find_onsets(wave).times, [*first.times, *(SECONDS + time for time in second.times)]))
    return pooled(found)


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--pairs", type=at_least(1), default=4, help="of each frame rate (default %(default)s)")
    run("audio_length", parser.parse_args(), measure)
