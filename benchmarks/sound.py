"""How good a sound is, and whether it comes when it should.

    python benchmarks/sound.py --mini --write docs/results.md
    python benchmarks/sound.py --results FOLDER [--references FOLDER]

--mini makes the sound of unseen clips of the mini world, whose events are known to the millisecond. --results measures
any folder of videos with sound; references of the same file names add onset F1, accuracy and AP, lags and spectral
distances. KL and an embedding's Frechet distance come with the user's own transformers folders. Prints each table and,
as the last line, all figures as one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from audio_parts import figure, folder, section  # noqa: E402 - found through the lines above
from audio_parts.timbre import timbre  # noqa: E402
from audio_parts.timing import timing  # noqa: E402
from audio_parts.voice import Voice, load_voice, unseen_clips  # noqa: E402

from lumina_core.errors import LuminaError  # noqa: E402
from lumina_core.evaluation.onsets import TOLERANCE  # noqa: E402
from lumina_core.sampling.audio import AudioPlan  # noqa: E402

FIGURE = "figures/sound.png"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--mini", action="store_true", help="measure a voice on unseen clips of the mini world")
    mode.add_argument("--results", type=Path, metavar="FOLDER", help="measure videos with sound")
    parser.add_argument("--references", type=Path, metavar="FOLDER", help="true sounds or videos of the same names")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE,
                        help="seconds between onsets that are one, for --results (default %(default)s)")  # fmt: skip
    parser.add_argument("--kl-weights", type=Path, metavar="FOLDER",
                        help="transformers ASTForAudioClassification, for KL")  # fmt: skip
    parser.add_argument("--fad-weights", type=Path, metavar="FOLDER",
                        help="any transformers audio model, for the Frechet distance of its embeddings")  # fmt: skip
    parser.add_argument("--sound", type=Path, metavar="FOLDER", help="sound folder (default: the mini bundle's)")
    parser.add_argument("--clips", type=int, default=100, help="of --mini (default %(default)s)")
    parser.add_argument("--timbre-clips", type=int, default=40,
                        help="of these, asked for in each material (default %(default)s)")  # fmt: skip
    plan = AudioPlan()
    parser.add_argument("--steps", type=int, default=plan.steps, help="of sampling (default %(default)s)")
    parser.add_argument("--video-guidance", type=float, default=plan.video_guidance, help="(default %(default)s)")
    parser.add_argument("--text-guidance", type=float, default=plan.text_guidance, help="(default %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default %(default)s)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put --mini's section there: docs/results.md")
    args = parser.parse_args()
    for name in ("clips", "timbre_clips", "threads"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is {getattr(args, name)}; write a number of at least 1.")
    if args.write and not args.mini:
        parser.error("--write goes with --mini.")
    if args.references is None and (args.kl_weights or args.fad_weights):
        parser.error("--kl-weights and --fad-weights compare with references; give --references.")
    return args


def measure_mini(args: argparse.Namespace) -> dict:
    """Every table of the mini world; each is printed as soon as it is there."""
    plan = AudioPlan(args.steps, args.video_guidance, args.text_guidance)
    voice = load_voice(args.sound, plan)
    clips = unseen_clips(args.clips)
    results: dict = {"setup": setup(voice, args)}
    sounds = voice.sounds(clips, report=lambda done: report(f"{done} of {len(clips)} sounds"))
    true = [clip.sound for clip in clips]
    results["timing"] = {
        "generated": timing(clips, sounds),
        "codec": timing(clips, [voice.through_codec(sound) for sound in true]),
        "true": timing(clips, true),
    }
    show("When it sounds", section.timing_table(results))
    results["materials"] = timbre(voice, clips[: args.timbre_clips], lambda done: report(f"{done} sounds by text"))
    show("What it sounds like", section.timbre_table(results))
    show("Wanted and measured", section.targets(results))
    if args.write:
        write(results, clips, sounds, args.write)
    return section.headline(results) | results


def setup(voice: Voice, args: argparse.Namespace) -> dict:
    version = torch.__version__.partition("+")[0]
    return {
        "parameters": sum(parameter.numel() for parameter in voice.model.parameters()) / 1e6,
        "command": f"python benchmarks/sound.py {' '.join(sys.argv[1:])}",
        "machine": f"On {args.threads} of {os.cpu_count()} CPU cores, torch {version}, float32",
        "clips": args.clips,
        "passes": voice.plan.nfe * (1 + bool(voice.plan.video_guidance) + bool(voice.plan.text_guidance)),
        **vars(voice.plan),
    }


def write(results: dict, clips: list, sounds: list, target: Path) -> None:
    picture: str | None = FIGURE
    try:
        place = figure.shown(clips)
        figure.plot(clips[place], sounds[place], target.parent / FIGURE)
        print(f"Wrote {target.parent / FIGURE}.")
    except ImportError:
        picture = None
        print("No picture: matplotlib is not installed (pip install -r requirements-dev.txt).")
    section.write_section(target, section.document(results, picture))
    print(f"Wrote the section of sound in {target}.")


def measure_folder(args: argparse.Namespace) -> dict:
    videos = folder.pairs(args.results, args.references)
    results = folder.measure(videos, args.tolerance, args.kl_weights, args.fad_weights, report)
    show(str(args.results), folder.show(results))
    for name, value in results.get("set", {}).items():
        print(f"{name}: {'none' if value is None else f'{value:.4g}'}")
    return results


def report(text: str) -> None:
    print(f"  {text}", flush=True)


def show(title: str, text: str) -> None:
    print(f"\n{title}\n\n{text}\n", flush=True)


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    started = time.perf_counter()
    try:
        results = measure_mini(args) if args.mini else measure_folder(args)
    except LuminaError as error:
        sys.exit(str(error))
    print(f"Took {time.perf_counter() - started:.0f} s.")
    print(json.dumps(rounded(results)))


def rounded(value: object) -> object:
    """The same with every number to five digits."""
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    return float(f"{value:.5g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
