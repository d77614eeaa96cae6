"""Stateless random numbers: every generator is keyed by where it is used, such as (seed, task, step, position).

So there is no state to save, and any number of processes draws the same.
"""

from __future__ import annotations

import hashlib
import random

import torch


def generator(*key: object) -> torch.Generator:
    """A torch generator for a key such as (seed, task, step, position)."""
    return torch.Generator().manual_seed(_seed(key))


def python_generator(*key: object) -> random.Random:
    """A generator of Python's ``random`` for a key."""
    return random.Random(_seed(key))


def bernoulli(rate: float, generator: torch.Generator) -> bool:
    """True with a probability of ``rate``, 0 to 1."""
    return float(torch.rand((), generator=generator)) < rate


def _seed(key: tuple[object, ...]) -> int:
    text = "/".join(map(str, key)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1
