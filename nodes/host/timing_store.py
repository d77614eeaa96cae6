"""Run times of past runs, in one small file in the host's user folder, without paths, prompts or dates."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import folder_paths

from ...lumina_core.cost.runtime import Measured, Shape
from ...lumina_core.network.config import VideoConfig
from ...lumina_core.runtime.atomic import atomic_write

logger = logging.getLogger(__name__)

# Newer hosts do not serve folders that begin with two underscores over their file routes.
FOLDER, FILE = "__lumina_video", "timings.json"
LIMIT = 200  # number of runs that are kept, the newest ones
_FIELDS = {"patch": str, "tokens": int, "batch": int, "guided": bool, "flops": int, "seconds": float}
# The page's settings and the end of a run may write at the same time, from two threads.
_writing = threading.Lock()


def model_key(config: VideoConfig) -> str:
    """A key that is equal for checkpoints with the same config, and reveals nothing else about them."""
    return hashlib.sha256(repr(config).encode()).hexdigest()[:16]


def remembered() -> dict[str, Any]:
    """The setting ``remember`` and the number of stored ``runs``, for the page."""
    kept = _read()
    return {"remember": kept["remember"], "runs": len(kept["runs"])}


def change(remember: bool | None = None, erase: bool = False) -> dict[str, Any]:
    """Turn storing on or off, erase all runs, or both; returns ``remembered``."""
    with _writing:
        kept = _read()
        if remember is not None:
            kept["remember"] = remember
        if erase:
            kept["runs"] = []
        _write(kept)
        return {"remember": kept["remember"], "runs": len(kept["runs"])}


def add_run(device: str, model: str, weights: str, dtype: str, shapes: list[dict[str, Any]]) -> None:
    """Store one run, unless storing is off.

    Args:
        device: name of the device.
        model: from `model_key`.
        weights: the loader's choice of precision.
        dtype: of the weights in the run.
        shapes: rows from `stored`.
    """
    with _writing:
        kept = _read()
        if not kept["remember"] or not shapes:
            return
        run = {"device": device, "model": model, "weights": weights, "dtype": dtype, "shapes": shapes}
        kept["runs"] = [*kept["runs"], run][-LIMIT:]
        _write(kept)


def past_runs(device: str, model: str, weights: str | None = None) -> list[list[Measured]]:
    """Runs of this model on this device, oldest first, all in the same precision.

    Args:
        device: name of the device.
        model: from `model_key`.
        weights: the loader's choice of precision; None is that of the newest run.
    """
    runs = [run for run in _read()["runs"] if (run["device"], run["model"]) == (device, model)]
    runs = [run for run in runs if weights in (None, run["weights"])]
    if runs:
        # The host's own choice of dtype may have changed since, through a command line flag.
        last = runs[-1]["weights"], runs[-1]["dtype"]
        runs = [run for run in runs if (run["weights"], run["dtype"]) == last]
    return [[measured(row) for row in run["shapes"]] for run in runs]


def measured(row: dict[str, Any]) -> Measured:
    """The input of an estimate from a stored row."""
    return Measured(Shape(**{name: row[name] for name in _FIELDS if name != "seconds"}), row["seconds"])


def stored(shape: Shape, evaluations: int, seconds: float) -> dict[str, Any]:
    """The row to store for a shape of a run; ``seconds`` are those of one evaluation."""
    return {**asdict(shape), "evaluations": evaluations, "seconds": seconds}


def _file() -> Path:
    return Path(folder_paths.get_user_directory()) / FOLDER / FILE


def _read() -> dict[str, Any]:
    try:
        kept = json.loads(_file().read_text(encoding="utf-8"))
        _check(kept)
        return kept
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        logger.warning("Lumina-Video: %s could not be read; the recorded run times were reset.", FILE)
        _file().unlink(missing_ok=True)
    return {"remember": True, "runs": []}


def _check(kept: dict[str, Any]) -> None:
    """Raise ValueError, KeyError or TypeError unless the file has the layout of this module."""
    if not isinstance(kept["remember"], bool) or not isinstance(kept["runs"], list):
        raise ValueError("unknown layout")
    for run in kept["runs"]:
        texts = [run[name] for name in ("device", "model", "weights", "dtype")]
        rows = [type(row[name]) is kind for row in run["shapes"] for name, kind in _FIELDS.items()]
        positive = all(row["seconds"] > 0 and row["flops"] > 0 for row in run["shapes"])
        if not (all(isinstance(text, str) for text in texts) and all(rows) and positive):
            raise ValueError("unknown layout")


def _write(kept: dict[str, Any]) -> None:
    """Write atomically: a full disk or a crash leaves the old file."""
    file = _file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file, unique=False) as part:
            part.write_text(json.dumps(kept), encoding="utf-8")
    except OSError as error:
        logger.warning("Lumina-Video: the run times of this run are not saved: %s.", error.strerror)
