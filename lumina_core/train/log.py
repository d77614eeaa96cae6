"""The log of a run: two CSV files, to which a resumed run appends."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import torch

from ..runtime.atomic import atomic_write

LOSSES, WINDOWS = "log.csv", "windows.csv"
_LOSS_FIELDS = (
    "step", "task", "patch", "loss", "squared_error", "direction_error", "items", "tokens",
    "gradient_norm", "learning_rate", "seconds_per_step",
)  # fmt: skip
_WINDOW_FIELDS = ("step", "task", "patch", "window", "from_t", "to_t", "items", "squared_error")
# Equal windows of t in 0..1 in windows.csv.
N_WINDOWS = 20


class TrainingLog:
    """Accumulates losses between two lines of the log.

    Args:
        folder: of the run; None in processes that only accumulate.
        start: step from which the run starts or resumes. Lines of later steps are removed from the files.
    """

    def __init__(self, folder: Path | None, start: int):
        self.folder = folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            for name, fields in ((LOSSES, _LOSS_FIELDS), (WINDOWS, _WINDOW_FIELDS)):
                _open_file(folder / name, fields, start)
        self._sums: dict[str, torch.Tensor] = {}
        self._windows: dict[str, torch.Tensor] = defaultdict(lambda: torch.zeros(2, N_WINDOWS, dtype=torch.float64))
        self._patches: dict[str, str] = {}

    def add(self, task: str, patch: str, t: torch.Tensor, squared: torch.Tensor, direction: torch.Tensor, tokens: int):
        """Add one (micro-)batch of a task.

        Args:
            task: its name.
            patch: name of the patch size.
            t: timesteps (B,).
            squared, direction: squared error and cosine loss of each sample, (B,).
            tokens: number of tokens in the batch.
        """
        totals = torch.tensor([len(t), float(squared.sum()), float(direction.sum()), tokens], dtype=torch.float64)
        self._sums[task] = self._sums.get(task, torch.zeros(4, dtype=torch.float64)) + totals
        self._patches[task] = patch
        place = (t * N_WINDOWS).long().clamp(0, N_WINDOWS - 1)
        self._windows[task][0].index_add_(0, place, torch.ones(len(t), dtype=torch.float64))
        self._windows[task][1].index_add_(0, place, squared.double())

    def gathered(self) -> tuple[list[str], torch.Tensor]:
        """Names of the tasks, and their sums since the last line, (tasks, 4 + 2 * N_WINDOWS) float64.

        The caller sums the latter over the processes and passes it to ``write``.
        """
        names = sorted(self._sums)
        rows = [torch.cat([self._sums[name], self._windows[name].flatten()]) for name in names]
        return names, torch.stack(rows) if rows else torch.zeros(0, 4 + 2 * N_WINDOWS, dtype=torch.float64)

    def write(self, step: int, rows: torch.Tensor, weight: float, norm: float, rate: float, seconds: float) -> None:
        """Write the lines of a step and start again from zero.

        Args:
            step: number of completed steps.
            rows: the sums of ``gathered``, summed over the processes.
            weight: of the direction error in the loss.
            norm: of the gradients, before clipping.
            rate: learning rate.
            seconds: per step.
        """
        losses, windows = [], []
        for name, row in zip(sorted(self._sums), rows, strict=True):
            items, squared, direction, tokens = row[:4].tolist()
            squared, direction = squared / items, direction / items
            patch = self._patches[name]
            losses.append(
                [step, name, patch, squared + weight * direction, squared, direction, int(items), int(tokens),
                 norm, rate, seconds]
            )  # fmt: skip
            counts, sums = row[4:].view(2, N_WINDOWS)
            for window in range(N_WINDOWS):
                if counts[window]:
                    mean = float(sums[window] / counts[window])
                    edges = window / N_WINDOWS, (window + 1) / N_WINDOWS
                    windows.append([step, name, patch, window, *edges, int(counts[window]), mean])
        if self.folder is not None:
            _append(self.folder / LOSSES, losses)
            _append(self.folder / WINDOWS, windows)
        self._sums, self._windows = {}, defaultdict(lambda: torch.zeros(2, N_WINDOWS, dtype=torch.float64))


def _open_file(file: Path, fields: tuple[str, ...], start: int) -> None:
    """Create a file with its header, or remove the lines after step ``start`` from it."""
    kept = []
    if file.is_file():
        with file.open(encoding="utf-8", newline="") as lines:
            kept = [row for row in csv.reader(lines) if row and row[0].isdigit() and int(row[0]) <= start]
    with atomic_write(file, unique=False) as part, part.open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerows([fields, *kept])


def _append(file: Path, rows: list[list[object]]) -> None:
    with file.open("a", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerows([[f"{v:.6g}" if isinstance(v, float) else v for v in row] for row in rows])
