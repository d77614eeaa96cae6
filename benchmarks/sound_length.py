"""Sounds twice as long as those trained on, with and without scaled positions.

    python benchmarks/sound_length.py --write docs/results.md

Unseen clips of the mini world are joined in pairs to 8 s, twice what the mini voice was trained on, and the onsets of
the sounds made for them are compared with the events. Prints a table and, as the last line, one JSON object. Figures
are of sounds, not of time, so a busy machine does not change them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from audio_parts.section import SOUND_LENGTH, write_section  # noqa: E402
from audio_parts.voice import RATES, Clip, Voice, load_voice, unseen_clips  # noqa: E402
from performance import machine  # noqa: E402 - found through the lines above
from tables.sections import prose, table  # noqa: E402

from lumina_core.errors import LuminaError  # noqa: E402
from lumina_core.evaluation.onsets import Agreement, find_onsets, match, pooled  # noqa: E402
from lumina_core.mini.audio_world import SECONDS  # noqa: E402
from lumina_core.network.audio_conditioning import AudioCondition  # noqa: E402
from lumina_core.network.rope_scaling import AUTO_METHOD  # noqa: E402
from lumina_core.pipelines.audio import decode  # noqa: E402
from lumina_core.sampling.audio import AudioPlan, sample_audio  # noqa: E402
from lumina_core.sampling.noise import seeded_noise  # noqa: E402

LENGTH = 2 * SECONDS
INTRODUCTION = (
    "Written by the command below. The mini voice was trained on sounds of {trained:g} s. {pairs} pairs of unseen "
    "clips, joined to {length:g} s ({events} events), are given a sound with the positions counted on (off) and scaled "
    "along time (auto, which is {method}), from the same noise; {steps} steps. Onsets are read as in the section on "
    "sound."
)


def joined(clips: list[Clip]) -> list[tuple[Clip, Clip]]:
    """Neighbours of one frame rate; the rates of ``unseen_clips`` take turns."""
    step = len(RATES)
    return [(clips[i], clips[i + step]) for i in range(len(clips) - step) if i % (2 * step) < step]


def sound_of(voice: Voice, pair: tuple[Clip, Clip], seed: int) -> torch.Tensor:
    """(1, N) for both clips, one behind the other."""
    frames = torch.cat([clip.frames() for clip in pair])
    seen = voice.encoder.frames(frames, pair[0].fps, LENGTH)
    condition = AudioCondition.of(seen.visual, seen.sync, *voice.encoder.text([pair[0].caption]))
    config = voice.model.config
    shape = (1, config.channels, config.rows(LENGTH), config.bins)
    noise = seeded_noise(shape, seed, torch.device("cpu"), torch.float32)
    return decode(voice.codec, sample_audio(voice.model, noise, voice.plan, condition), LENGTH)


def agreement(voice: Voice, pairs: list[tuple[Clip, Clip]]) -> Agreement:
    found = []
    for seed, (first, second) in enumerate(pairs):
        times = [*first.times, *(SECONDS + time for time in second.times)]
        found.append(match(find_onsets(sound_of(voice, (first, second), seed)).times, times))
        print(f"  {seed + 1} of {len(pairs)}", file=sys.stderr, flush=True)
    return pooled(found)


def document(result: dict) -> str:
    shares = ("f1", "precision", "recall")
    rows = [
        [name, str(row["onsets"]), *(f"{row[part]:.3f}" for part in shares), f"{row['lag_ms']:.0f}"]
        for name, row in result["rows"].items()
    ]
    head = ["rope", "onsets", "F1", "precision", "recall", "lag, ms"]
    parts = ["### Sounds longer than trained", prose(INTRODUCTION.format(**result)), f"`{result['command']}`",
             f"{result['date']}, {result['machine']}.", table(head, rows)]  # fmt: skip
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=12, help="even, at least 2 (default %(default)s)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the section there: docs/results.md")
    given = parser.parse_args()
    if given.pairs < 2 or given.pairs % 2:
        parser.error(f"--pairs is {given.pairs}; write an even number of at least 2.")
    torch.set_num_threads(1)
    try:
        voice = load_voice(None, AudioPlan())
    except LuminaError as error:
        sys.exit(str(error))
    config, pairs = voice.model.config, joined(unseen_clips(2 * given.pairs))
    rows, events = {}, 0
    for name, trained in (("off", None), ("auto", config.train_rows)):
        voice.model.config = replace(config, train_rows=trained)
        found = agreement(voice, pairs)
        events = found.true
        rows[name] = {"onsets": found.found, "f1": found.f1, "precision": found.precision, "recall": found.recall,
                      "lag_ms": 1000 * found.mean_absolute_lag}  # fmt: skip
    result = {
        "command": f"python benchmarks/sound_length.py {' '.join(sys.argv[1:])}".strip(),
        "date": datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat(),
        "machine": machine(),
        "trained": SECONDS,
        "length": LENGTH,
        "pairs": len(pairs),
        "events": events,
        "steps": voice.plan.steps,
        "method": AUTO_METHOD,
        "rows": rows,
    }
    text = document(result)
    print(text)
    if given.write:
        write_section(given.write, text, SOUND_LENGTH)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
