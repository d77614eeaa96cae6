"""Reads the sound of the mini world back: which material the strokes were on.

Each stroke is compared with what the synthesiser makes of every material at every pitch of the world; no network. It is
checked on synthesised sounds, so a figure measured with it can be trusted that far.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F

from ..audio.mel import SAMPLE_RATE, log_mel
from ..errors import LuminaError
from ..evaluation.onsets import TOLERANCE, find_onsets
from .audio_world import FLASH, MATERIALS, PITCH_OF, Event, tone

UNCLEAR = "unclear"
_LONGEST, _SHORTEST = 0.4, 0.12
"""Seconds of a stroke that are compared, as far as the next event lets."""
_COLLISION = 1.5
_QUIETEST = 1e-2
"""Share of a stroke's loudest band below which bands are equal."""
_WINDOW = 4
"""Mel frames that a window reaches back, rounded up."""
_SILENCE = 1e-3
"""Peak amplitude of a stroke that is not there."""


@torch.no_grad()
def judge_material(waveform: torch.Tensor, events: Sequence[Event]) -> str:
    """The material that the strokes of a clip (1, N) at 16 kHz sound most like; "unclear" where none is heard.

    events: the true ones; a stroke begins at the sound's own onset near an event, else at the event. Raises
    LuminaError for events without a bounce or a collision.
    """
    strokes = [event for event in events if event.kind != FLASH]
    if not strokes:
        raise LuminaError("The clip has no bounce and no collision; the material is read from those.")
    onsets = find_onsets(waveform).times
    distances = []
    for event in strokes:
        near = [time for time in onsets if abs(time - event.time) <= TOLERANCE]
        start = min(near, key=lambda time: abs(time - event.time), default=event.time)
        following = min((other.time for other in events if other.time > event.time), default=float("inf"))
        piece = _piece(waveform, start, min(_LONGEST, following - event.time))
        if piece is not None:
            distances.append(_distances(piece))
    if not distances:
        return UNCLEAR
    return MATERIALS[int(torch.stack(distances).mean(dim=0).argmin())]


def _piece(waveform: torch.Tensor, start: float, seconds: float) -> torch.Tensor | None:
    """A stroke (1, n), or None where it is too short or silent."""
    first = round(start * SAMPLE_RATE)
    piece = waveform[:, first : first + round(seconds * SAMPLE_RATE)]
    if piece.shape[1] < _SHORTEST * SAMPLE_RATE or piece.abs().max() < _SILENCE:
        return None
    return piece.float().cpu()


def _distances(piece: torch.Tensor) -> torch.Tensor:
    """(materials,): mean difference from each in nepers, at the pitch that fits best."""
    bands = log_mel(piece)[0].exp()
    # The last window would see where the piece was cut.
    found = _shape(bands[:, : bands.shape[1] - _WINDOW])
    strokes = _shape(_strokes()[:, : found.shape[1]])
    return (found - strokes).abs().mean(dim=(1, 2)).view(len(MATERIALS), -1).amin(dim=1)


def _shape(bands: torch.Tensor) -> torch.Tensor:
    """Bands (n, frames, 64) as logarithms above the floor, whatever the loudness."""
    return (bands / bands.amax(dim=(1, 2), keepdim=True) + _QUIETEST).log()


@lru_cache(maxsize=1)
def _strokes() -> torch.Tensor:
    """Mel bands of one stroke on each material at each pitch, (materials * pitches, frames, 64)."""
    total = round(_LONGEST * SAMPLE_RATE)
    waves = [
        tone(material, pitch * factor, torch.Generator().manual_seed(0))[:total]
        for material in MATERIALS
        for pitch in PITCH_OF.values()
        for factor in (1.0, _COLLISION)
    ]
    return log_mel(torch.stack([F.pad(wave, (0, total - len(wave))) for wave in waves]))[:, 0].exp()
