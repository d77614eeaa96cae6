"""Classifies the material of the impacts in audio of the mini world.

Each impact is compared with synthesized impacts on every material at every pitch; there is no network. Tests measure
the accuracy on synthesized audio.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F

from ..audio.mel import log_mel
from ..errors import LuminaError
from ..evaluation.onsets import TOLERANCE, find_onsets
from ..shapes.audio_rates import SAMPLE_RATE
from .audio_world import FLASH, MATERIALS, PITCH_OF, Event, tone

UNCLEAR = "unclear"
_LONGEST, _SHORTEST = 0.4, 0.12  # seconds of an impact that are compared, up to the next event
_COLLISION = 1.5  # pitch of a collision relative to a bounce
_RELATIVE_FLOOR = 1e-2  # bands below this share of the loudest one are equal
_WINDOW = 4  # mel frames that an STFT window spans, rounded up
_SILENCE = 1e-3  # peak amplitude below which there is no impact


@torch.no_grad()
def judge_material(waveform: torch.Tensor, events: Sequence[Event]) -> str:
    """The material that the impacts sound most like, or ``"unclear"`` if none is audible.

    Args:
        waveform: (1, N) at 16 kHz.
        events: the scene's events. An impact starts at the detected onset nearest to its event, or at the event.

    Raises:
        LuminaError: there is no bounce and no collision among the events.
    """
    impacts = [event for event in events if event.kind != FLASH]
    if not impacts:
        raise LuminaError(
            "The clip has no bounce and no collision; use a clip with at least one.", field="events", kind="value"
        )
    onsets = find_onsets(waveform).times
    distances = []
    for event in impacts:
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
    """The waveform (1, n) of one impact, or None if it is too short or silent."""
    first = round(start * SAMPLE_RATE)
    piece = waveform[:, first : first + round(seconds * SAMPLE_RATE)]
    if piece.shape[1] < _SHORTEST * SAMPLE_RATE or piece.abs().max() < _SILENCE:
        return None
    return piece.float().cpu()


def _distances(piece: torch.Tensor) -> torch.Tensor:
    """Mean spectral difference (materials,) in nepers, at the best-matching pitch of each material."""
    bands = log_mel(piece)[0].exp()
    # The last windows would include the cut.
    found = _relative_log(bands[:, : bands.shape[1] - _WINDOW])
    templates = _relative_log(_templates()[:, : found.shape[1]])
    return (found - templates).abs().mean(dim=(1, 2)).view(len(MATERIALS), -1).amin(dim=1)


def _relative_log(bands: torch.Tensor) -> torch.Tensor:
    """Logarithm of bands (n, frames, 64) relative to the loudest one, with a floor."""
    return (bands / bands.amax(dim=(1, 2), keepdim=True) + _RELATIVE_FLOOR).log()


@lru_cache(maxsize=1)
def _templates() -> torch.Tensor:
    """Mel bands of one impact on each material at each pitch, (materials * pitches, frames, 64)."""
    total = round(_LONGEST * SAMPLE_RATE)
    waves = [
        tone(material, pitch * factor, torch.Generator().manual_seed(0))[:total]
        for material in MATERIALS
        for pitch in PITCH_OF.values()
        for factor in (1.0, _COLLISION)
    ]
    return log_mel(torch.stack([F.pad(wave, (0, total - len(wave))) for wave in waves]))[:, 0].exp()
