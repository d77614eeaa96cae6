"""Reads frames of videos that the code under test has written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from lumina_core.media.reader import frames_at


def read_frames(path: str | Path, times: Sequence[float]) -> torch.Tensor:
    """The frames nearest to all times, (len(times), H, W, 3) float32 in 0..1."""
    frames = list(frames_at(path, times))
    assert len(frames) == len(times), f"{path} ends before {times[-1]} s"
    return torch.stack(frames).float() / 255
