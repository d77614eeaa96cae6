"""A plot of the held-out loss of each patch size over t, as in the paper's figure 3."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from ..errors import LuminaError
from ..runtime.atomic import atomic_write
from .validate import read_losses

PLOT = "losses.png"


def plot_losses(folder: Path) -> Path:
    """Plot the newest step of a run's validation.csv, one line per source and task; returns the path of the image.

    Raises LuminaError if matplotlib is not installed, or if the run has no held-out losses.
    """
    rows = read_losses(folder)
    if not rows:
        raise LuminaError(
            f"{folder} has no held-out losses; add validation to its recipe, and held_out to a source.",
            field="validation",
            kind="missing",
        )
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise LuminaError(
            f"Plots need matplotlib, which cannot be imported ({error}); run pip install matplotlib.",
            field="matplotlib",
            kind="missing",
        ) from None
    last = max(int(row["step"]) for row in rows)
    lines: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        if int(row["step"]) == last:
            middle = (float(row["from_t"]) + float(row["to_t"])) / 2
            lines[f"{row['source']}, {row['task']}"].append((middle, float(row["squared_error"])))
    figure = Figure(figsize=(7, 4), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for name, points in lines.items():
        axes.plot(*zip(*points, strict=True), marker=".", label=name)
    axes.set(xlabel="t (0 noise, 1 data)", ylabel="squared error of the velocity", title=f"Held-out loss, step {last}")
    axes.legend()
    axes.grid(alpha=0.3)
    target = folder / PLOT
    with atomic_write(target, unique=False) as part:
        figure.savefig(part, format="png")
    return target
