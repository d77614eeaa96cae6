"""What clips beyond the trained size show, as a section of the results document and a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from audio_parts.section import EXTRAPOLATION

from lumina_core.mini.judge import Verdict, judge
from lumina_core.network.rope_scaling import AUTO_METHOD, OFF

from .mini import Prompt
from .quality import COUNTED
from .sections import prose, table
from .statistics import paired

SECTION = EXTRAPOLATION
TIME_AWARE = ("time", "time-step")
PLAIN = (OFF, "interpolate")
INTRODUCTION = (
    "Written by the command below. The mini bundle was trained on {trained} only. It makes {prompts} clips (prompts of "
    "combinations that were never trained, plan `{preset}` with {points} points, float32) at each size, by each way of "
    "scaling the rotary positions, from the same noise. Accuracy is the mean of colour, shape and direction, ± one "
    "standard error. At the trained size it is {accuracy} with the same prompts, and {one} of the "
    "frames show one object."
)
READING = (
    "The judge knows the shapes at the size that they are drawn at. A larger clip is read twice, as it is and shrunk "
    "to the trained area, and the reading that it is surer of counts; it looks at the largest object alone. \"One\" is "
    "the share of frames that show exactly one object: a picture that is continued past the trained positions tends to "
    "repeat itself, which accuracy does not see. Steps are the same number at every size."
)
SHORT_AXES = (
    "What the mini bundle cannot say: its pictures have 4 positions a side at 1x2 and 2 at 2x4, fewer than one wave "
    "(2 pi positions) of the fastest frequency. That one tells the positions apart by itself, and ntk, frequency and "
    "time never scale it, so here they act nearly as off. The released networks count 44 x 78 positions, where slower "
    "waves carry the layout and these methods do scale them; how they compare there needs those weights: not yet "
    "measured. Sounds have longer axes, and gain (see the next section)."
)

_SPECK = 30
"""Pixels; the smallest shape of the trained clips has about 100."""
_STANDING_OUT = 200
"""One pixel in so many is surely an object's."""
_FRAMES = 8


@dataclass(frozen=True)
class Reading:
    """Of one clip: share of colour, shape and direction that are right, and of frames with exactly one object."""

    accuracy: float
    one: float


def read(clip: torch.Tensor, prompt: Prompt, factor: float) -> Reading:
    """Judge a clip (f, H, W, 3) whose sides are ``factor`` times the trained ones."""
    found = judge(clip)
    if factor > 1:
        found = max(found, judge(_shrunk(clip, factor)), key=lambda verdict: verdict.confidence)
    return Reading(_accuracy(found, prompt), one_object(clip))


def _accuracy(found: Verdict, prompt: Prompt) -> float:
    return sum(getattr(found, name) == getattr(prompt.scene, name) for name in COUNTED) / len(COUNTED)


def one_object(clip: torch.Tensor) -> float:
    """Share of frames of a clip (f, H, W, 3) with one object of at least ``_SPECK`` pixels that stands out."""
    import cv2

    away = (clip - clip.flatten(0, 2).median(dim=0).values).norm(dim=-1)
    # Half as far from the background as what stands out most.
    strongest = away.flatten().topk(away.numel() // _STANDING_OUT).values[-1]
    counts = []
    for frame in (away > strongest / 2).to(torch.uint8).numpy()[:: max(1, len(away) // _FRAMES)]:
        areas = cv2.connectedComponentsWithStats(frame)[2][1:, cv2.CC_STAT_AREA]
        counts.append(int((areas >= _SPECK).sum()))
    return counts.count(1) / len(counts)


def _shrunk(clip: torch.Tensor, factor: float) -> torch.Tensor:
    size = [round(side / factor) for side in clip.shape[1:3]]
    return F.interpolate(clip.permute(0, 3, 1, 2), size, mode="area").permute(0, 2, 3, 1)


def mean_error(values: list[float]) -> tuple[float, float]:
    """Mean and standard error."""
    found = paired([0.0] * len(values), values)
    return found.mean, found.error


def figures(readings: list[Reading]) -> dict[str, float]:
    """Accuracy and its standard error, and the share of frames with one object, in per cent."""
    accuracy, error = mean_error([r.accuracy for r in readings])
    return {"accuracy": 100 * accuracy, "error": 100 * error, "one": 100 * mean_error([r.one for r in readings])[0]}


def verdicts(readings: dict[str, dict[str, list[Reading]]], sizes: list[str]) -> dict[str, dict]:
    """For each of ``sizes``: time-aware methods against plain ones, best against best, over the same prompts."""
    found = {}
    for size in sizes:
        best = {group: max(group, key=lambda m: _total(readings[m][size])) for group in (TIME_AWARE, PLAIN)}
        gap = paired(*([r.accuracy for r in readings[best[group]][size]] for group in (PLAIN, TIME_AWARE)))
        found[size] = {"time_aware": best[TIME_AWARE], "plain": best[PLAIN], "difference": 100 * gap.mean,
                       "error": 100 * gap.error, "sign": gap.sign}  # fmt: skip
    return found


def _total(readings: list[Reading]) -> float:
    return sum(r.accuracy for r in readings)


def overall(readings: dict[str, dict[str, list[Reading]]], sizes: list[str]) -> dict[str, float]:
    """Accuracy of each method over the clips of all of ``sizes`` together, in points, best first."""
    found = {
        method: 100 * mean_error([r.accuracy for size in sizes for r in of_method[size]])[0]
        for method, of_method in readings.items()
        if all(size in of_method for size in sizes)
    }
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def document(result: dict, figure: str | None) -> str:
    """The whole section, from its heading on."""
    head = ["rope", *(f"{size}{unit}" for size in result["sizes"] for unit in ("", ": one"))]
    rows = [
        [method, *(cell for size in result["sizes"] for cell in _cells(of_method.get(size)))]
        for method, of_method in result["rows"].items()
    ]
    accuracy, one = _cells(result["trained_figures"])
    parts = [
        "## Beyond the trained size",
        prose(INTRODUCTION.format(accuracy=accuracy, one=one, **result)),
        f"`{result['command']}`",
        f"{result['date']}, {result['machine']}.",
        table(head, rows),
        prose(*_sentences(result)),
        prose(READING),
        prose(SHORT_AXES),
    ]
    if figure is not None:
        parts.append(f"![One frame of a clip by method and size]({figure})")
    return "\n\n".join(parts)


def _cells(found: dict | None) -> tuple[str, str]:
    if found is None:
        return "", ""
    return f"{found['accuracy']:.0f} ± {found['error']:.0f} %", f"{found['one']:.0f} %"


def _sentences(result: dict) -> list[str]:
    told = []
    for size, found in result["verdicts"].items():
        how = {1: "beats", 0: "cannot be told from", -1: "is worse than"}[found["sign"]]
        told.append(
            f"At {size}, the better time-aware method ({found['time_aware']}) {how} the better of plain extrapolation "
            f"and interpolation ({found['plain']}): {found['difference']:+.1f} ± {found['error']:.1f} points."
        )
    ranked = ", ".join(f"{name} {share:.0f} %" for name, share in result["overall"].items())
    told.append(f"Over all sizes: {ranked}.")
    for size in result["verdicts"]:
        shares = {name: row[size]["one"] for name, row in result["rows"].items() if size in row}
        best = max(shares, key=lambda name: shares[name])
        told.append(f"At {size}, {best} shows one object most often: {shares[best]:.0f} %, off {shares[OFF]:.0f} %.")
    told.append(f"`auto` takes {AUTO_METHOD}: near the best accuracy here, and the choice of its authors on long axes.")
    return told


def picture(shown: dict[str, dict[str, torch.Tensor]], target: Path) -> None:
    """Write one frame (H, W, 3) of each method and size: methods below one another, sizes side by side."""
    import numpy
    from PIL import Image, ImageDraw

    gap, line, left = 4, 16, 84
    columns = {size: frame.shape[1] for size, frame in next(iter(shown.values())).items()}
    height = max(frame.shape[0] for of_method in shown.values() for frame in of_method.values())
    width = left + sum(columns.values()) + gap * len(columns)
    sheet = Image.new("RGB", (width, line + (height + gap) * len(shown)), "white")
    pen = ImageDraw.Draw(sheet)
    for row, (method, of_method) in enumerate(shown.items()):
        top, x = line + row * (height + gap), left
        pen.text((gap, top + gap), method, fill="black")
        for size, frame in of_method.items():
            if row == 0:
                pen.text((x, 2), size, fill="black")
            pixels = (frame.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
            sheet.paste(Image.fromarray(numpy.ascontiguousarray(pixels)), (x, top))
            x += columns[size] + gap
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(256).save(target, optimize=True)
