"""Draw the figures of docs/results.md: `python scripts/build_result_images.py [NAME ...]`.

loss_windows.png is drawn from the newest figures of benchmarks/results; the others show clips of the bundled model.
Needs matplotlib.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.common.audio_clips import AudioGenerator, Clip, unseen_clips  # noqa: E402
from benchmarks.common.mini_clips import default_plan, load, make_clips  # noqa: E402
from benchmarks.render import newest  # noqa: E402
from lumina_core.audio.mel import log_mel  # noqa: E402
from lumina_core.evaluation.onsets import find_onsets  # noqa: E402
from lumina_core.mini.audio_world import FLASH, SECONDS  # noqa: E402
from lumina_core.mini.draw import draw  # noqa: E402
from lumina_core.mini.prompts import held_out_prompts  # noqa: E402
from lumina_core.network.forward_options import ROPES  # noqa: E402

Strip = tuple[str, torch.Tensor]
# Number of frames of a strip; width of its label and of the gap between frames in pixels.
FRAMES, LABEL, GAP = 8, 150, 2
COLORS = {"bounce": "white", "collision": "cyan", FLASH: "yellow"}


def strips(rows: list[Strip], file: Path) -> None:
    """Write one row of evenly spaced frames for every (label, clip (f, H, W, 3) in 0..1); all clips have one size."""
    from PIL import Image, ImageDraw

    height, width = rows[0][1].shape[1:3]
    sheet = Image.new("RGB", (LABEL + FRAMES * (width + GAP), len(rows) * (height + GAP)), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (label, clip) in enumerate(rows):
        top = number * (height + GAP)
        pen.text((4, top + height // 2 - 6), label, fill="black")
        for column, place in enumerate(torch.linspace(0, len(clip) - 1, FRAMES).round().long().tolist()):
            pixels = clip[place].mul(255).round().byte().numpy()
            sheet.paste(Image.fromarray(pixels), (LABEL + column * (width + GAP), top))
    # Five bits per channel are enough and give a third of the file size.
    sheet.point(lambda value: value & 0xF8).save(file, optimize=True)


def edit(file: Path) -> None:
    """Image-to-video without and with hold, then a source and video-to-video of it."""
    pipe, rows = load(), []
    plan = default_plan(pipe, 21).replace(motion=2.3)
    for seed, prompt in enumerate(held_out_prompts(2)):
        clip = draw(replace(prompt.scene, speed=1.0))
        rows += [
            (f"one image, hold {hold:g}", make_clips(pipe, [prompt], plan, seed, image=clip[:1], hold=hold)[0])
            for hold in (0.0, 0.5)
        ]
        color = "red" if prompt.scene.color != "red" else "blue"
        source = draw(replace(prompt.scene, speed=1.0, color=color))
        rows.append(("source", source))
        rows += [
            (f"strength {strength}", make_clips(pipe, [prompt], plan, seed, video=source, strength=strength)[0])
            for strength in (0.6, 0.4, 0.2)
        ]
    strips(rows, file)


def extrapolation(file: Path) -> None:
    """A clip at 128x128 with each RoPE scaling."""
    pipe, prompts = load(), held_out_prompts(1)
    plan = default_plan(pipe, 16)
    methods = [name for name in ROPES if name != "auto"]
    strips([(name, make_clips(pipe, prompts, plan.replace(rope=name), size=(128, 128))[0]) for name in methods], file)


def loss_windows(file: Path) -> None:
    """The loss of each patch size over flow time, from the newest results."""
    from matplotlib import pyplot

    rows = newest("paper_tables")["figures"]["loss"]
    figure, axes = pyplot.subplots(figsize=(6.4, 4), dpi=120)
    for name, marker in zip(("1x2", "2x2", "2x4"), "os^", strict=True):
        middles = [(row["start"] + row["end"]) / 2 for row in rows]
        axes.plot(middles, [row[name] for row in rows], marker=marker, markersize=4, label=f"patch size {name}")
    axes.set(xlabel="flow time t (0 noise, 1 data)", ylabel="squared error of the velocity", xlim=(0, 1),
             title="Loss of each patch size on held-out clips")  # fmt: skip
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(file)
    pyplot.close(figure)


def audio(file: Path) -> None:
    """Frames of a clip over the spectrograms of generated and reference audio, with events and detected onsets."""
    from matplotlib import pyplot

    clips = unseen_clips(100)
    place = max(range(len(clips)), key=lambda place: _interest(clips[place], place))
    clip = clips[place]
    made = AudioGenerator().generate([clip], [place])[0]
    figure, (film, *spectra) = pyplot.subplots(
        3, 1, figsize=(11, 5.4), dpi=110, height_ratios=(0.5, 1, 1), sharex=True, layout="constrained"
    )
    _film(film, clip)
    for axes, wave, title in zip(spectra, (made, clip.audio), ("generated", "reference"), strict=True):
        mel = log_mel(wave)[0, 0]
        extent = (0, SECONDS, 0, mel.shape[1])
        axes.imshow(mel.T.numpy(), origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=-9.0, vmax=0.0)
        for event in clip.events:
            axes.axvline(event.time, color=COLORS[event.kind], linestyle="--", linewidth=1, label=event.kind)
        times = find_onsets(wave).times
        axes.plot(times, [3] * len(times), "^", color="lime", label="onset detected")
        axes.set(ylabel=f"{title}: mel band", xlim=(0, SECONDS))
    handles, labels = spectra[0].get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    style = {"loc": "upper right", "fontsize": 7, "facecolor": "black", "labelcolor": "white"}
    spectra[0].legend(unique.values(), unique.keys(), **style)
    spectra[1].set_xlabel("seconds")
    film.set_title(f"{clip.caption}  ({clip.fps:g} fps)", fontsize=9, parse_math=False)
    figure.savefig(file)
    pyplot.close(figure)


def _interest(clip: Clip, place: int) -> tuple[bool, bool, int, int]:
    """Sort key of a clip; the largest is shown. Prefers English captions, 3 to 6 events, and many kinds of events."""
    events = clip.events
    return clip.caption.isascii(), 3 <= len(events) <= 6, len({event.kind for event in events}), -place


def _film(axes, clip: Clip, count: int = 16, gap: float = 0.02) -> None:
    frames, width = clip.frames(), SECONDS / count
    for place in range(count):
        # Each image is the frame that is shown at the middle of its interval.
        frame = frames[min(len(frames) - 1, int((place + 0.5) * width * clip.fps))]
        axes.imshow(frame.numpy(), extent=((place + gap) * width, (place + 1 - gap) * width, 0, 1), aspect="auto")
    axes.set(xlim=(0, SECONDS), ylim=(0, 1), yticks=[])


PICTURES: dict[str, Callable[[Path], None]] = {
    "edit": edit, "extrapolation": extrapolation, "loss_windows": loss_windows, "audio": audio,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*PICTURES, []], help="figures to draw (default: all)")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "figures", help="(default: docs/figures)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.names or PICTURES:
        PICTURES[name](args.folder / f"{name}.png")
        print(args.folder / f"{name}.png", flush=True)


if __name__ == "__main__":
    main()
