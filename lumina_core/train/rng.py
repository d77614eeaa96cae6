"""Random numbers of training, each from where it is used: no state to save, the same on any number of processes."""

from __future__ import annotations

import hashlib
import random

import torch


def generator(*place: object) -> torch.Generator:
    """A torch generator for a place such as (seed, task, step, item)."""
    return torch.Generator().manual_seed(_number(place))


def chance(*place: object) -> random.Random:
    """A Python generator for a place."""
    return random.Random(_number(place))


def happens(rate: float, numbers: torch.Generator) -> bool:
    """Whether something that happens at a rate, 0 to 1, does this time."""
    return float(torch.rand((), generator=numbers)) < rate


def _number(place: tuple[object, ...]) -> int:
    text = "/".join(map(str, place)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1
