"""Saved states of a run: one folder per state, written under a temporary name and renamed once it is complete."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import LuminaError
from ..runtime.atomic import SUFFIX, atomic_folder
from ..runtime.tensor_files import Weights, read_safetensors

WEIGHTS, EMA, OPTIMIZER, ABOUT = "weights.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json"
LORA, LORA_EMA = "lora.safetensors", "lora-ema.safetensors"
_FOLDER = "step-{:07d}"


@dataclass(frozen=True)
class State:
    """Everything that is needed to resume a run; all tensors are full (not sharded) and on the CPU.

    Args:
        step: number of completed steps.
        weights: trained parameters by name.
        ema: their EMA, or empty.
        optimizer: AdamW's two moments and step counts; keys are ``first.``, ``second.`` or ``step.`` plus the name of
            the parameter.
        lora: whether the weights are those of a LoRA, whose files have other names.
    """

    step: int
    weights: Weights
    ema: Weights
    optimizer: Weights
    lora: bool = False


def save_state(run: Path, state: State, metadata: Mapping[str, str], keep: int) -> Path:
    """Write a state and delete all but the newest ``keep`` states.

    Args:
        run: folder of the run.
        state: what to save.
        metadata: entries for the headers of the safetensors files.
        keep: number of states to keep, 1 or more.

    Returns:
        The folder of the state.

    Raises:
        LuminaError: the state cannot be written, for example because the disk is full. Older states are kept.
    """
    from safetensors.torch import save_file

    target = run / _FOLDER.format(state.step)
    try:
        with atomic_folder(target) as part:
            for name, weights in zip(_files(state.lora), (state.weights, state.ema, state.optimizer), strict=True):
                if weights:
                    save_file(weights, part / name, metadata=dict(metadata) | {"format": "pt"})
            (part / ABOUT).write_text(json.dumps({"step": state.step}) + "\n", encoding="utf-8")
    except Exception as error:  # safetensors reports a full disk with an error of its own
        last = newest_state(run)
        kept = f"the last saved state is {last}" if last else "no state was saved yet"
        raise LuminaError(
            f"The state of step {state.step} cannot be saved in {run} ({error}), and {kept}; free disk space or change "
            "out, then run again to resume.",
            field="out",
            kind="resource",
        ) from error
    for old in saved_states(run)[:-keep]:
        shutil.rmtree(old)
    return target


def saved_states(run: Path) -> list[Path]:
    """Folders of the complete states of a run, oldest first."""
    found = (path for path in run.glob("step-*") if path.suffix != SUFFIX and (path / ABOUT).is_file())
    return sorted(found, key=lambda path: (len(path.name), path.name))


def newest_state(run: Path) -> Path | None:
    """Folder of the newest complete state of a run; None if there is none."""
    found = saved_states(run)
    return found[-1] if found else None


def load_state(folder: Path) -> State:
    """Read a saved state. Raises LuminaError if it is incomplete or damaged."""
    try:
        step = json.loads((folder / ABOUT).read_text(encoding="utf-8"))["step"]
        if not isinstance(step, int):
            raise ValueError(f"step is {step!r}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LuminaError(
            f"The saved state {folder} cannot be read ({error}); delete it to resume from an older one.",
            field="out",
            kind="file",
        ) from None
    lora = (folder / LORA).is_file()
    files = (folder / name for name in _files(lora))
    return State(step, *(read_safetensors(file)[0] if file.is_file() else {} for file in files), lora=lora)


def _files(lora: bool) -> tuple[str, str, str]:
    return (LORA, LORA_EMA, OPTIMIZER) if lora else (WEIGHTS, EMA, OPTIMIZER)


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: Mapping[torch.nn.Parameter, str]) -> Weights:
    """AdamW's moments and step counts, see ``State``; without parameters that have not received a gradient yet."""
    tensors = {}
    for parameter, name in names.items():
        held = optimizer.state.get(parameter)
        if held:
            tensors[f"first.{name}"] = held["exp_avg"]
            tensors[f"second.{name}"] = held["exp_avg_sq"]
            # Per parameter: those of a patch size that is inactive in some steps have a lower count.
            tensors[f"step.{name}"] = held["step"]
    return tensors


def restore_optimizer(
    optimizer: torch.optim.Optimizer, names: Mapping[torch.nn.Parameter, str], tensors: Weights
) -> None:
    """Restore saved moments; the tensors must have the device and the sharding of the parameters."""
    for parameter, name in names.items():
        if f"first.{name}" in tensors:
            optimizer.state[parameter] = {
                "step": tensors[f"step.{name}"],
                "exp_avg": tensors[f"first.{name}"],
                "exp_avg_sq": tensors[f"second.{name}"],
            }
