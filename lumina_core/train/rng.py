"""Stateless random numbers: every generator is keyed by its use, such as (seed, task, step, position).

So there is no generator state to save, and the numbers do not depend on the number of processes.
"""

from __future__ import annotations

import hashlib
import random

import torch


def generator(*key: object) -> torch.Generator:
    """A torch CPU generator for a key such as (seed, task, step, position)."""
    return torch.Generator().manual_seed(_seed(key))


def python_generator(*key: object) -> random.Random:
    """A ``random.Random`` for a key."""
    return random.Random(_seed(key))


def bernoulli(rate: float, generator: torch.Generator) -> bool:
    """True with a probability of ``rate``, 0 to 1."""
    return float(torch.rand((), generator=generator)) < rate


def _seed(key: tuple[object, ...]) -> int:
    text = "/".join(map(str, key)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1
