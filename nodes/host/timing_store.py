"""What past runs took, in one small file of the host's user folder. No paths, no prompts, no times of day in it."""

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

FOLDER, FILE = "__lumina_video", "timings.json"
"""Folders that begin with two underscores are closed to the page's file routes in newer hosts."""
LIMIT = 200
"""Runs that are kept, the newest."""
_FIELDS = {"patch": str, "tokens": int, "batch": int, "guided": bool, "flops": int, "seconds": float}
# The page's settings and a run that ends may write at once, from two threads.
_writing = threading.Lock()


def model_key(config: VideoConfig) -> str:
    """Equal for checkpoints whose passes cost the same; tells nothing else."""
    return hashlib.sha256(repr(config).encode()).hexdigest()[:16]


def remembered() -> dict[str, Any]:
    """``remember`` and the number of ``runs``, as the page shows them."""
    kept = _read()
    return {"remember": kept["remember"], "runs": len(kept["runs"])}


def change(remember: bool | None = None, erase: bool = False) -> dict[str, Any]:
    """Turn remembering on or off, forget all runs, or both; returns ``remembered``."""
    with _writing:
        kept = _read()
        if remember is not None:
            kept["remember"] = remember
        if erase:
            kept["runs"] = []
        _write(kept)
        return {"remember": kept["remember"], "runs": len(kept["runs"])}


def add_run(device: str, model: str, weights: str, dtype: str, shapes: list[dict[str, Any]]) -> None:
    """Keep one run; writes nothing where remembering is off."""
    with _writing:
        kept = _read()
        if not kept["remember"] or not shapes:
            return
        run = {"device": device, "model": model, "weights": weights, "dtype": dtype, "shapes": shapes}
        kept["runs"] = [*kept["runs"], run][-LIMIT:]
        _write(kept)


def past_runs(device: str, model: str, weights: str | None = None) -> list[list[Measured]]:
    """Runs of this model on this device, oldest first, all in one precision.

    weights: the loader's choice; None takes that of the newest run.
    """
    runs = [run for run in _read()["runs"] if (run["device"], run["model"]) == (device, model)]
    runs = [run for run in runs if weights in (None, run["weights"])]
    if runs:
        # The host's own choice may have changed since, by a flag of its command line.
        last = runs[-1]["weights"], runs[-1]["dtype"]
        runs = [run for run in runs if (run["weights"], run["dtype"]) == last]
    return [[measured(row) for row in run["shapes"]] for run in runs]


def measured(row: dict[str, Any]) -> Measured:
    """A stored shape as the estimate takes it."""
    return Measured(Shape(**{name: row[name] for name in _FIELDS if name != "seconds"}), row["seconds"])


def stored(shape: Shape, evaluations: int, seconds: float) -> dict[str, Any]:
    """The shape of a run as it is kept; ``seconds`` are those of one evaluation."""
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
    """Raise ValueError, KeyError or TypeError unless the file has our layout."""
    if not isinstance(kept["remember"], bool) or not isinstance(kept["runs"], list):
        raise ValueError("unknown layout")
    for run in kept["runs"]:
        texts = [run[name] for name in ("device", "model", "weights", "dtype")]
        rows = [type(row[name]) is kind for row in run["shapes"] for name, kind in _FIELDS.items()]
        sound = all(row["seconds"] > 0 and row["flops"] > 0 for row in run["shapes"])
        if not (all(isinstance(text, str) for text in texts) and all(rows) and sound):
            raise ValueError("unknown layout")


def _write(kept: dict[str, Any]) -> None:
    """All or nothing: a full disk or a crash leaves the old file."""
    file = _file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file, unique=False) as part:
            part.write_text(json.dumps(kept), encoding="utf-8")
    except OSError as error:
        logger.warning("Lumina-Video: the run times of this run are not saved: %s.", error.strerror)
