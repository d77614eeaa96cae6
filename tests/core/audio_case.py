"""A tiny random codec, and sounds for tests."""

import math
from pathlib import Path

import torch

from scripts.make_tiny_audio import write_codec


def write_tiny_codec(folder: Path, channels: int = 4, seed: int = 0) -> Path:
    """A codec folder of random weights in the released layout."""
    write_codec(folder, seed, channels)
    return folder


def tone(hertz: float, seconds: float, rate: int = 16000) -> torch.Tensor:
    """(1, N), amplitude 0.3."""
    return 0.3 * torch.sin(2 * math.pi * hertz * torch.arange(round(seconds * rate)) / rate)[None]


def click(at: float, seconds: float, rate: int = 16000) -> torch.Tensor:
    """(1, N): 5 ms of a square wave at a time, else silence."""
    wave = torch.zeros(1, round(seconds * rate))
    first = round(at * rate)
    wave[:, first : first + 80] = 0.8 * torch.sign(torch.sin(torch.arange(80) * 1.0))
    return wave
