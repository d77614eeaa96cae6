"""The section of the results document on given beginnings and clips made over, and its picture."""

from __future__ import annotations

from pathlib import Path

import torch

from .edit import NEAR, SPEED
from .sections import prose, table

FIGURE = "figures/edit.png"
FRAMES, LABEL, GAP = 8, 150, 2
"""Frames of a strip; pixels of its words and between strips."""
INTRODUCTION = (
    "No weight was trained for this: the released network and the mini one know no picture as a condition. The mini "
    "bundle makes {prompts} clips of each row (prompts of combinations that were never trained, `{preset}`, {points} "
    "points, motion score {motion:g}, that of the drawn sources, which move {speed:g} pixel a frame). `±` is one "
    "standard error. The mini bundle has other weights, a VAE whose latent frames do not depend on one another and 8 "
    "latent frames a clip: what is seen here is evidence for the mechanism alone. On the released weights none of it "
    "has been tried."
)
BEGUN = (
    "`Lumina-Video Image to Video` gives the first latent frames: one picture is a still of 4 frames, as that is what "
    "a latent frame of a still holds in the VAE of CogVideoX, too. A given frame is kept at the noise level of each "
    "step (the host's noise mask), so it comes out as it was given. `hold` is the flow time until which the frames "
    "behind it are kept as well, to a still of the last given one, and let go one after another. The jump is how far "
    "the shape moves over the border between the last given frame and the next; near are clips with at most {near:g} "
    "pixels. Accuracy (colour, shape, direction), direction, speed and size are of the frames behind the border alone. "
    "The prompt names what the picture shows and where it moves."
)
BEGUN_READING = (
    "Given frames alone (hold 0) do not reach those behind them: the clip follows its prompt from another place, be it "
    "1 picture or 8 frames. Starting from the still without a mask keeps the place and loses speed. Letting the frames "
    "go one after another closes most of the gap and costs little of what was asked for: 0.5 is the default. What the "
    "prompt does not say is not taken over: the shape's size changes nearly as much as without a picture."
)
MADE_OVER = (
    "VAE Encode, then only the last share of the steps (KSampler's `denoise`, or Split Sigmas Denoise), with a prompt "
    "that changes one name of the source (colour, shape or background, in turns). New is how often the changed name is "
    "the prompt's, kept the other two names, distance how far the shape is from its place in the source, mean over the "
    "frames. Share 0 is the source through the VAE."
)
MADE_OVER_READING = (
    "Where the run starts before guidance ends (t = {guided_until:g} in this preset), the prompt decides colour, shape "
    "and background; the later it starts, the nearer the new shape keeps to the path of the old one. Behind that the "
    "source wins. The share counts steps and the noise level at it depends on the time shift, so the released presets "
    "will have their own best share."
)


def document(result: dict, command: str) -> str:
    """The whole section, from its heading on."""
    words = {**result, "speed": SPEED, "near": NEAR}
    return "\n\n".join([
        "## Image to video and video to video",
        prose(INTRODUCTION.format(**words)),
        f"`{command}`",
        f"![First a picture and what follows it, then clips made over from a source]({FIGURE})",
        "### Clips that begin with given frames",
        prose(BEGUN.format(**words)),
        _begun(result["begun"]),
        prose(BEGUN_READING),
        "### Clips made over from others",
        prose(MADE_OVER),
        _made_over(result["made_over"]),
        prose(MADE_OVER_READING.format(**words)),
    ])  # fmt: skip


def _begun(rows: dict) -> str:
    head = ["begins with", "first frame, dB", "jump, pixels", "near", "accuracy", "direction", "speed", "size change"]
    return table(head, [
        [name, _mean(row["first"], 1), _both(row["jump"], 1), _share(row["near"]), _share(row["accuracy"]),
         _share(row["direction"]), _mean(row["speed"], 2), _share(row["size"])]
        for name, row in rows.items()
    ])  # fmt: skip


def _made_over(rows: dict) -> str:
    head = ["share of the steps", "starts at t", "new", "kept", "direction", "distance, pixels", "PSNR to source, dB"]
    return table(head, [
        [name, f"{row['t']:.3f}", _share(row["new"]), _share(row["kept"]), _share(row["direction"]),
         _both(row["distance"], 1), _mean(row["likeness"], 1)]
        for name, row in rows.items()
    ])  # fmt: skip


def _mean(value: dict | None, digits: int) -> str:
    return "" if value is None else f"{value['mean']:.{digits}f}"


def _both(value: dict | None, digits: int) -> str:
    return "" if value is None else f"{value['mean']:.{digits}f} ± {value['error']:.{digits}f}"


def _share(value: dict | None) -> str:
    return "" if value is None else f"{100 * value['mean']:.0f} ± {100 * value['error']:.0f} %"


def picture(strips: list[tuple[str, torch.Tensor]], file: Path) -> None:
    """One row of frames from start to end for every (words, clip of (f, H, W, 3))."""
    from PIL import Image, ImageDraw

    height, width = strips[0][1].shape[1:3]
    sheet = Image.new("RGB", (LABEL + FRAMES * (width + GAP), len(strips) * (height + GAP)), "white")
    pen = ImageDraw.Draw(sheet)
    for row, (words, clip) in enumerate(strips):
        top = row * (height + GAP)
        pen.text((4, top + height // 2 - 6), words, fill="black")
        for column, place in enumerate(torch.linspace(0, len(clip) - 1, FRAMES).round().long().tolist()):
            pixels = clip[place].mul(255).round().byte().numpy()
            sheet.paste(Image.fromarray(pixels), (LABEL + column * (width + GAP), top))
    file.parent.mkdir(parents=True, exist_ok=True)
    # Five bits a colour are enough, and a third of the size.
    sheet.point(lambda value: value & 0xF8).save(file, optimize=True)
