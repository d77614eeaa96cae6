"""State of one sampling run of the host, which itself gives a network no place for such state.

The host creates one tensor of sigmas per run, passes the same one to every call in
``transformer_options["sample_sigmas"]`` and drops it at the end; a weak reference to it marks the run.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import torch

Value = TypeVar("Value")


def sigmas_of_run(transformer_options: Mapping[str, Any] | None) -> torch.Tensor | None:
    """The sigmas of the sampling run that these options belong to; None outside of a run."""
    return (transformer_options or {}).get("sample_sigmas")


class PerRun(Generic[Value]):
    """A value that is made at the first call of a run, kept for its other calls, and freed with the run."""

    def __init__(self) -> None:
        self._run: weakref.ref | None = None
        self._value: Value | None = None

    def of(self, transformer_options: Mapping[str, Any], make: Callable[[], Value]) -> Value | None:
        """The value of the run with these options, from ``make`` if the run is new; None outside of a run."""
        sigmas = sigmas_of_run(transformer_options)
        if sigmas is None:
            return None
        if self._value is None or self._run is None or self._run() is not sigmas:
            self._run, self._value = weakref.ref(sigmas, self._end), make()
        return self._value

    def _end(self, run: weakref.ref) -> None:
        # The sigmas of an earlier run may be freed after the next run has begun.
        if run is self._run:
            self._run = self._value = None
