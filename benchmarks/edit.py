"""Image to video and video to video without new weights: `python benchmarks/edit.py --write docs/results.md`.

The mini bundle makes clips that begin with a drawn picture, clips that go on from drawn frames, and clips made over
from drawn ones, as the ComfyUI nodes do. The judge reads what was kept and what follows the prompt. Prints the tables
and, as the last line, one JSON object; --write also makes the picture of the first clips.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from audio_parts.section import EDIT, write_section  # noqa: E402 - found through the line above
from tables import edit  # noqa: E402
from tables.edit_section import FIGURE, document, picture  # noqa: E402
from tables.mini import Mini, Prompt, held_out_prompts, load  # noqa: E402

from lumina_core.errors import LuminaError  # noqa: E402
from lumina_core.media.motion_score import dis_flow, motion_score  # noqa: E402
from lumina_core.mini.draw import draw  # noqa: E402
from lumina_core.mini.world import FPS  # noqa: E402
from lumina_core.sampling.frame_conditioning import NEVER  # noqa: E402
from lumina_core.sampling.plan import SamplingPlan  # noqa: E402

HOLDS = (0.0, 0.35, 0.5, 0.65)
STILL_START = 0.2
"""Flow time of a start from the still alone."""
SHARES = (0.8, 0.6, 0.4, 0.3, 0.2, 0.1)
"""Of the steps that are run, as the host counts denoise."""
SHOWN = 2
"""Clips of each kind in the picture."""
BEGUN_SHOWN = {f"one picture, hold {hold:g}": f"one picture, hold {hold:g}" for hold in (0.0, 0.5)}
MADE_OVER_SHOWN = {"0": "source", **{f"{share:g}": f"made over, share {share:g}" for share in (0.6, 0.4, 0.2)}}
"""Rows that the picture shows, and what stands beside them."""
Clips = dict[str, list[torch.Tensor]]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="mini", help="name or folder of a bundle (default %(default)s)")
    parser.add_argument("--prompts", type=int, default=24, help="clips of each row (default %(default)s)")
    parser.add_argument("--points", type=int, help="of the time grid (default: the preset's)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the section there: docs/results.md")
    given = parser.parse_args()
    if given.prompts < 3:
        parser.error(f"--prompts is {given.prompts}; write at least 3, one for each name that is changed.")
    return given


def paced(plan: SamplingPlan, prompts: list[Prompt]) -> SamplingPlan:
    """The plan with the motion score that the drawn sources have."""
    flow = dis_flow()
    scores = [motion_score(draw(scene), FPS, flow) for scene in edit.sources(prompts)]
    return plan.replace(motion=round(sum(scores) / len(scores), 1))


def begun(mini: Mini, prompts: list[Prompt], plan: SamplingPlan) -> tuple[dict, Clips]:
    """The table of clips with a given beginning."""
    scenes = edit.sources(prompts)
    late = first_step(plan, STILL_START)
    livelier = plan.replace(motion=2 * plan.motion.values[0])
    blank = torch.zeros(len(prompts), *mini.size.shape(mini.model.config.channels))
    rows: dict = {}
    clips: Clips = {"the drawn clip": [mini.vae.decode(mini.vae.encode(draw(scene))) for scene in scenes]}
    clips["no picture"] = edit.make(mini, prompts, plan, blank)
    clips["no hold, from the still at t = 0.2"] = edit.begin(mini, prompts, 1, None, plan, late)
    clips |= {f"one picture, hold {hold:g}": edit.begin(mini, prompts, 1, hold, plan) for hold in HOLDS}
    clips["the same at 0.5, twice the motion score"] = edit.begin(mini, prompts, 1, 0.5, livelier)
    clips |= {f"8 frames, hold {hold:g}": edit.begin(mini, prompts, 8, hold, plan) for hold in (0.0, 0.5)}
    for name, made in clips.items():
        pictures = 8 if name.startswith("8") else 1
        read = [edit.read_begun(c, p, s, pictures) for c, p, s in zip(made, prompts, scenes, strict=True)]
        rows[name] = edit.summary(read)
    return rows, clips


def made_over(mini: Mini, prompts: list[Prompt], plan: SamplingPlan) -> tuple[dict, Clips]:
    """The table of clips made over from others."""
    scenes, changed = edit.other_sources(prompts)
    given = torch.cat([mini.vae.encode(draw(scene)) for scene in scenes])
    clips: Clips = {}
    rows: dict = {}
    for share in (1.0, *SHARES, 0.0):
        start = round((1 - share) * plan.steps)
        clips[f"{share:g}"] = edit.make(mini, prompts, plan, given, start=start)
        read = [
            edit.read_made_over(c, p, s, n)
            for c, p, s, n in zip(clips[f"{share:g}"], prompts, scenes, changed, strict=True)
        ]
        rows[f"{share:g}"] = {"t": float(plan.grid()[start]), **edit.summary(read)}
    return rows, clips


def first_step(plan: SamplingPlan, t: float) -> int:
    """The first step of the grid at or behind ``t``."""
    return int((plan.grid() < t).sum())


def shown(clips: Clips, words: dict[str, str]) -> list[tuple[str, torch.Tensor]]:
    """Strips of the first clips; ``words`` maps rows of a table to what stands beside them."""
    return [(text, clips[name][number]) for number in range(SHOWN) for name, text in words.items()]


def main() -> None:
    given = arguments()
    torch.set_num_threads(1)
    try:
        mini = load(given.bundle, given.points)
        prompts = held_out_prompts(given.prompts)
        plan = paced(mini.default, prompts)
        first, first_clips = begun(mini, prompts, plan)
        second, second_clips = made_over(mini, prompts, plan)
    except LuminaError as error:
        sys.exit(str(error))
    result = {
        "prompts": given.prompts,
        "preset": mini.bundle.preset,
        "points": plan.points,
        "motion": plan.motion.values[0],
        "guided_until": min(plan.guidance.thresholds, default=NEVER),
        "begun": first,
        "made_over": second,
    }
    text = document(result, f"python benchmarks/edit.py {' '.join(sys.argv[1:])}".strip())
    print(text)
    if given.write:
        strips = shown(first_clips, BEGUN_SHOWN) + shown(second_clips, MADE_OVER_SHOWN)
        picture(strips, given.write.parent / FIGURE)
        write_section(given.write, text, EDIT)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
