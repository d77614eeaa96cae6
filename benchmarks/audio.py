"""Quality of audio, and whether it comes when it should.

    python -m benchmarks.audio --mini
    python -m benchmarks.audio --results FOLDER [--references FOLDER]

--mini generates the audio of unseen clips of the mini world, whose events are known to the millisecond. --results
measures any folder of videos with audio; references of the same file names add onset F1, accuracy and AP, lags and
spectral distances. KL and an embedding's Frechet distance need your own transformers folders.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.common.audio_clips import AudioGenerator, unseen_clips
from benchmarks.common.audio_materials import materials
from benchmarks.common.audio_timing import ALL, timing
from benchmarks.common.comparison import target
from benchmarks.common.harness import at_least, make_parser, progress, run
from lumina_core.evaluation import video_folder
from lumina_core.evaluation.onsets import TOLERANCE
from lumina_core.sampling.audio import AudioPlan

GENERATED = "generated"


def parse_arguments() -> argparse.Namespace:
    parser, plan = make_parser(__doc__, threads=1), AudioPlan()
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--mini", action="store_true", help="measure an audio model on unseen clips of the mini world")
    mode.add_argument("--results", type=Path, metavar="FOLDER", help="measure videos with audio")
    parser.add_argument("--references", type=Path, metavar="FOLDER", help="true audio or videos of the same names")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE,
                        help="seconds between matching onsets, for --results (default %(default)s)")  # fmt: skip
    parser.add_argument("--kl-weights", type=Path, metavar="FOLDER",
                        help="transformers ASTForAudioClassification, for KL")  # fmt: skip
    parser.add_argument("--fad-weights", type=Path, metavar="FOLDER",
                        help="any transformers audio model, for the Frechet distance of its embeddings")  # fmt: skip
    parser.add_argument("--audio", type=Path, metavar="FOLDER", help="audio folder (default: the mini bundle's)")
    parser.add_argument("--clips", type=at_least(1), default=100, help="of --mini (default %(default)s)")
    parser.add_argument("--material-clips", type=at_least(1), default=40,
                        help="of these, asked for in each material (default %(default)s)")  # fmt: skip
    parser.add_argument("--steps", type=int, default=plan.steps, help="of sampling (default %(default)s)")
    parser.add_argument("--video-guidance", type=float, default=plan.video_guidance, help="(default %(default)s)")
    parser.add_argument("--text-guidance", type=float, default=plan.text_guidance, help="(default %(default)s)")
    args = parser.parse_args()
    if args.references is None and (args.kl_weights or args.fad_weights):
        parser.error("--kl-weights and --fad-weights compare with references; give --references.")
    return args


def measure(args: argparse.Namespace) -> dict:
    return measure_mini(args) if args.mini else measure_folder(args)


def measure_mini(args: argparse.Namespace) -> dict:
    """The tables of the mini world."""
    plan = AudioPlan(args.steps, args.video_guidance, args.text_guidance)
    model, clips = AudioGenerator(args.audio, plan), unseen_clips(args.clips)
    made = model.generate(clips)
    progress(f"audio of {len(clips)} clips")
    true = [clip.audio for clip in clips]
    sources = {
        GENERATED: made,
        "reference through the codec": [model.through_codec(wave) for wave in true],
        "reference": true,
    }
    rows = [{"audio": name, **row} for name, waves in sources.items() for row in timing(clips, waves)]
    found = materials(model, clips[: args.material_clips])
    whole = next(row for row in rows if (row["audio"], row["rate"]) == (GENERATED, ALL))
    return {"targets": targets(whole, found["right"]["generated"]), "timing": rows, **found, **vars(plan)}


def targets(row: dict, right: float) -> list[dict]:
    """Bounds of the figures of all generated audio, and of the share of right materials."""
    control = None if not row["f1"] or row["control_f1"] is None else row["control_f1"] / row["f1"]
    return [
        target("onset F1 against the true event times, within 100 ms", row["f1"], 0.8),
        target("mean absolute lag of the matched onsets, ms", row["lag_ms"], 60, maximum=True),
        target("F1 against another clip's events, divided by F1 against its own", control, 0.5, maximum=True),
        target("material as in the prompt", right, 0.9),
    ]


def measure_folder(args: argparse.Namespace) -> dict:
    videos = video_folder.pairs(args.results, args.references)
    return video_folder.measure(videos, args.tolerance, args.kl_weights, args.fad_weights, progress)


if __name__ == "__main__":
    run("audio", parse_arguments(), measure)
