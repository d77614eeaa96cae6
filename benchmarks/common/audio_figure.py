"""A PNG of frames of a clip over the spectrogram of its audio, with true events and detected onsets."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.common.audio_clips import Clip
from lumina_core.audio.mel import log_mel
from lumina_core.evaluation.onsets import find_onsets
from lumina_core.mini.audio_world import FLASH, SECONDS

_FRAMES = 16
# Share of a frame's place that is left free on each side.
_GAP = 0.02
# Log-mel.
_DARKEST, _BRIGHTEST = -9.0, 0.0
_COLORS = {"bounce": "white", "collision": "cyan", FLASH: "yellow"}


def shown(clips: list[Clip]) -> int:
    """Which clip to show: the first with the most kinds of events, three to six in all, and an English caption, since
    not every plot font has Chinese."""

    def interest(place: int) -> tuple[bool, bool, int, int]:
        events, english = clips[place].events, clips[place].caption.isascii()
        return english, 3 <= len(events) <= 6, len({event.kind for event in events}), -place

    return max(range(len(clips)), key=interest)


def plot(clip: Clip, made_audio: torch.Tensor, target: Path) -> None:
    """Write the PNG. Raises ImportError where matplotlib is not installed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (film, made, true) = pyplot.subplots(
        3, 1, figsize=(11, 5.4), dpi=110, height_ratios=(0.5, 1, 1), sharex=True, layout="constrained"
    )
    _film(film, clip)
    for axes, wave, title in ((made, made_audio, "generated"), (true, clip.audio, "reference")):
        mel = log_mel(wave)[0, 0]
        place = (0, SECONDS, 0, mel.shape[1])
        axes.imshow(
            mel.T.numpy(), origin="lower", aspect="auto", extent=place, cmap="magma", vmin=_DARKEST, vmax=_BRIGHTEST
        )
        _marks(axes, clip)
        axes.plot(find_onsets(wave).times, [3] * len(find_onsets(wave)), "^", color="lime", label="onset detected")
        axes.set(ylabel=f"{title}: mel band", xlim=(0, SECONDS))
    handles, labels = made.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    made.legend(unique.values(), unique.keys(), loc="upper right", fontsize=7, facecolor="black", labelcolor="white")
    true.set_xlabel("seconds")
    film.set_title(f"{clip.caption}  ({clip.fps:g} fps)", fontsize=9, parse_math=False)
    figure.savefig(target, format="png")
    pyplot.close(figure)


def _film(axes, clip: Clip) -> None:
    frames = clip.frames()
    width = SECONDS / _FRAMES
    for place in range(_FRAMES):
        # Each image is the one on the screen at its own middle.
        frame = frames[min(len(frames) - 1, int((place + 0.5) * width * clip.fps))]
        axes.imshow(frame.numpy(), extent=((place + _GAP) * width, (place + 1 - _GAP) * width, 0, 1), aspect="auto")
    axes.set(xlim=(0, SECONDS), ylim=(0, 1), yticks=[])


def _marks(axes, clip: Clip) -> None:
    for event in clip.events:
        axes.axvline(event.time, color=_COLORS[event.kind], linestyle="--", linewidth=1, label=event.kind)
