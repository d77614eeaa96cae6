"""What language costs on the mini bundle: the same scenes asked for in English, Chinese and Korean.

    python benchmarks/languages.py --write docs/results.md

Each scene is a combination that was never trained, said once in each language and sampled from the same noise, so rows
differ by the words alone. English and Chinese were trained; Korean was not, and stands beside the empty prompt, which
says what is left to chance. Prints the table and, as the last line, one JSON object. --quick only shows that it runs.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from audio_parts.section import write_section  # noqa: E402 - found through the line above
from tables.mini import Mini, Prompt, held_out_prompts, load  # noqa: E402
from tables.quality import ASKED, ClipQuality, means, measure_all  # noqa: E402
from tables.sections import prose, table  # noqa: E402
from tables.statistics import Difference, paired  # noqa: E402

from lumina_core.errors import LuminaError  # noqa: E402
from lumina_core.mini.captions import CHINESE, ENGLISH, caption  # noqa: E402
from lumina_core.mini.tokenizer import UNKNOWN  # noqa: E402
from lumina_core.mini.world import Scene  # noqa: E402
from lumina_core.text.gemma import with_system_prompt  # noqa: E402

SECTION = "languages"
KOREAN, NONE = "ko", "none"
NAMES = {ENGLISH: "English", CHINESE: "Chinese", KOREAN: "Korean (not trained)", NONE: "empty prompt"}
KOREAN_WORDS = {
    "red": "빨간", "yellow": "노란", "green": "초록색", "cyan": "청록색", "blue": "파란", "purple": "보라색",
    "white": "하얀",
    "circle": "원", "square": "사각형", "triangle": "삼각형", "star": "별",
    "black": "검은", "grey": "회색", "navy": "남색", "brown": "갈색", "forest": "짙은 초록색",
    "right": "오른쪽으로", "left": "왼쪽으로", "up": "위로", "down": "아래로",
}  # fmt: skip
INTRODUCTION = (
    "Written by the command below. Each of {prompts} scenes that were never trained is asked for in every language, "
    "from the same noise, with the preset `{preset}` ({points} points, {nfe} evaluations). `±` is one standard error; "
    "the last column is the mean difference from English over the same scenes."
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="mini", help="name or folder of a bundle (default %(default)s)")
    parser.add_argument("--prompts", type=int, default=24, help="scenes of each row (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="2 scenes, 5 steps: whether it runs, not how good it is")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the section there: docs/results.md")
    given = parser.parse_args()
    if given.quick:
        given.prompts = 2
    if given.prompts < 2:
        parser.error(f"--prompts is {given.prompts}; write at least 2, for a standard error.")
    return given


def said(scene: Scene, language: str, rng: random.Random) -> str:
    """The scene in the words of a language."""
    if language == NONE:
        return ""
    if language != KOREAN:
        return caption(scene, rng, language)
    colour, shape, background, direction = (
        KOREAN_WORDS[name] for name in (scene.colour, scene.shape, scene.background, scene.direction)
    )
    return f"{background} 배경에서 {colour} {shape} 하나가 {direction} 움직인다."


def prompts_in(language: str, scenes: list[Prompt]) -> list[Prompt]:
    rng = random.Random(f"languages {language}")
    return [Prompt(said(prompt.scene, language, rng), language, prompt.scene) for prompt in scenes]


def unknown_share(mini: Mini, prompts: list[Prompt]) -> float:
    """Share of the prompts' tokens that the tokenizer has no word for."""
    skip = len(mini.encoder.token_ids([with_system_prompt("")])[0])
    ids = [token for row in mini.encoder.tokenize([prompt.text for prompt in prompts]) for token in row[skip:]]
    return sum(token == UNKNOWN for token in ids) / max(1, len(ids))


def row(mini: Mini, prompts: list[Prompt], found: list[ClipQuality], english: list[ClipQuality]) -> dict:
    accuracies = [quality.accuracy for quality in found]
    gap = paired([quality.accuracy for quality in english], accuracies)
    return {
        **means(found),
        "error": spread(accuracies),
        "difference": gap.mean,
        "difference_error": gap.error,
        "unknown_tokens": unknown_share(mini, prompts),
        "example": prompts[0].text,
    }


def spread(values: list[float]) -> float:
    """Standard error of the mean."""
    centre = sum(values) / len(values)
    return math.sqrt(sum((value - centre) ** 2 for value in values) / (len(values) - 1) / len(values))


def measure(mini: Mini, count: int) -> dict[str, dict]:
    """A row for each language, English first."""
    scenes = held_out_prompts(count)
    rows: dict[str, dict] = {}
    english: list[ClipQuality] = []
    for language in NAMES:
        prompts = prompts_in(language, scenes)
        found = measure_all(mini.clips(prompts, mini.single), prompts)
        english = english or found
        rows[language] = row(mini, prompts, found, english)
        print(f"  {NAMES[language]}: accuracy {rows[language]['accuracy']:.3f}", file=sys.stderr, flush=True)
    return rows


def document(result: dict) -> str:
    """The section of the results document."""
    rows = result["rows"]
    head = ["prompt", *ASKED, "accuracy", "unknown tokens", "accuracy less English's"]
    body = [
        [NAMES[name], *(f"{100 * r[asked]:.1f} %" for asked in ASKED), _points(r["accuracy"], r["error"], "%"),
         f"{100 * r['unknown_tokens']:.0f} %",
         "" if name == ENGLISH else _points(r["difference"], r["difference_error"], "points")]
        for name, r in rows.items()
    ]  # fmt: skip
    examples = "; ".join(f"`{rows[name]['example']}`" for name in NAMES if name != NONE)
    parts = [
        "## Languages",
        prose(INTRODUCTION.format(**result)),
        f"`{result['command']}`",
        table(head, body),
        prose(*verdict(rows)),
        f"The first scene as it was asked for: {examples}",
    ]
    return "\n\n".join(parts)


def verdict(rows: dict[str, dict]) -> list[str]:
    """Sentences that the figures choose."""
    chinese, korean, none = (rows[name] for name in (CHINESE, KOREAN, NONE))
    gap = Difference(chinese["difference"], chinese["difference_error"])
    how = {
        0: "as well as English, as far as so many scenes can tell",
        1: "better than English",
        -1: "worse than English",
    }
    near = abs(korean["accuracy"] - none["accuracy"]) <= 2 * math.hypot(korean["error"], none["error"])
    told = "no better than no prompt at all" if near else "differently from no prompt at all"
    return [
        f"Chinese is followed {how[gap.sign]}.",
        f"Korean, of which the mini model never saw a word, is followed {told}: its tokenizer has none of the words "
        f"({100 * korean['unknown_tokens']:.0f} % of the tokens are the unknown one). This says nothing about the "
        "released models, whose text encoder, Gemma-2, was trained on many languages.",
    ]


def _points(share: float, error: float, unit: str) -> str:
    return (
        f"{100 * share:+.1f} ± {100 * error:.1f} {unit}"
        if unit == "points"
        else f"{100 * share:.1f} ± {100 * error:.1f} %"
    )


def main() -> None:
    given = arguments()
    torch.set_num_threads(1)
    try:
        mini = load(given.bundle, points=6 if given.quick else None)
        rows = measure(mini, given.prompts)
    except LuminaError as error:
        sys.exit(str(error))
    result = {
        "command": f"python benchmarks/languages.py {' '.join(sys.argv[1:])}".strip(),
        "preset": mini.bundle.preset.removesuffix("-MultiScale"),
        "prompts": given.prompts,
        "points": mini.single.points,
        "nfe": len(list(mini.single.evaluations())),
        **{f"accuracy_{name}": found["accuracy"] for name, found in rows.items()},
        "rows": rows,
    }
    text = document(result)
    print(text)
    if given.write:
        write_section(given.write, text, SECTION)
    print(json.dumps(result, ensure_ascii=False))


if __name__ == "__main__":
    main()
