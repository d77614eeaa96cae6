"""Saved states of a run: one folder a state, written beside its final name and moved there when it is whole."""

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
    """Everything that a run goes on from; all tensors whole, on the CPU.

    Args:
        step: steps done.
        weights: trained parameters by name.
        ema: their running average, or nothing.
        optimizer: AdamW's two moments and its count of steps, named ``first.``, ``second.`` or ``step.`` and the
            parameter's name.
        lora: whether the weights are a LoRA's; they then stand in files of other names.
    """

    step: int
    weights: Weights
    ema: Weights
    optimizer: Weights
    lora: bool = False


def save_state(run: Path, state: State, metadata: Mapping[str, str], keep: int) -> Path:
    """Write a state and delete all but the newest ``keep``; returns its folder. OSError leaves older states alone."""
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
        raise LuminaError(f"The state of step {state.step} cannot be saved in {run} ({error}); {kept}.") from error
    for old in saved_states(run)[:-keep]:
        shutil.rmtree(old)
    return target


def saved_states(run: Path) -> list[Path]:
    """Folders of the whole states of a run, oldest first."""
    found = (path for path in run.glob("step-*") if path.suffix != SUFFIX and (path / ABOUT).is_file())
    return sorted(found, key=lambda path: (len(path.name), path.name))


def newest_state(run: Path) -> Path | None:
    found = saved_states(run)
    return found[-1] if found else None


def load_state(folder: Path) -> State:
    """Read a saved state. Raises LuminaError for one that is not whole."""
    try:
        step = json.loads((folder / ABOUT).read_text(encoding="utf-8"))["step"]
        if not isinstance(step, int):
            raise ValueError(f"step is {step!r}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LuminaError(
            f"The saved state {folder} cannot be read ({error}); delete it to go on from an older one."
        ) from None
    lora = (folder / LORA).is_file()
    files = (folder / name for name in _files(lora))
    return State(step, *(read_safetensors(file)[0] if file.is_file() else {} for file in files), lora=lora)


def _files(lora: bool) -> tuple[str, str, str]:
    return (LORA, LORA_EMA, OPTIMIZER) if lora else (WEIGHTS, EMA, OPTIMIZER)


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: Mapping[torch.nn.Parameter, str]) -> Weights:
    """AdamW's moments and step counts by parameter name; nothing for a parameter that no gradient has reached yet."""
    tensors = {}
    for parameter, name in names.items():
        held = optimizer.state.get(parameter)
        if held:
            tensors[f"first.{name}"] = held["exp_avg"]
            tensors[f"second.{name}"] = held["exp_avg_sq"]
            # A patch size that rests in some steps counts fewer of them.
            tensors[f"step.{name}"] = held["step"]
    return tensors


def restore_optimizer(
    optimizer: torch.optim.Optimizer, names: Mapping[torch.nn.Parameter, str], tensors: Weights
) -> None:
    """Put saved moments back; tensors must lie as the parameters do."""
    for parameter, name in names.items():
        if f"first.{name}" in tensors:
            optimizer.state[parameter] = {
                "step": tensors[f"step.{name}"],
                "exp_avg": tensors[f"first.{name}"],
                "exp_avg_sq": tensors[f"second.{name}"],
            }
