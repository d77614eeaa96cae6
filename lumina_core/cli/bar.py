"""Progress bars on stderr."""

from __future__ import annotations

import sys
from typing import Any

# Seconds between updates in a log file, where each update is a line; on a terminal.
_IN_A_LOG, _ON_A_TERMINAL = 10.0, 0.1


def progress_bar(total: int, **options: Any) -> Any:
    """A tqdm bar of ``total`` units.

    Args:
        total: length of the bar.
        options: further arguments of ``tqdm``, such as ``desc`` and ``initial``.
    """
    from tqdm import tqdm

    interval = _ON_A_TERMINAL if sys.stderr.isatty() else _IN_A_LOG
    return tqdm(total=total, file=sys.stderr, mininterval=interval, dynamic_ncols=True, **options)
