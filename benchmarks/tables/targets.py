"""The figures that the bundle is meant to reach, and the one line of them that programs read."""

from __future__ import annotations

from dataclasses import dataclass

from .patches import COMBINED


@dataclass(frozen=True)
class Target:
    """A figure, the bound that it is to keep, and whether that is a ceiling."""

    name: str
    what: str
    bound: float
    ceiling: bool = False

    def met(self, value: float | None) -> bool:
        if value is None:
            return False
        return value <= self.bound if self.ceiling else value >= self.bound


TARGETS = (
    Target("colour", "colour right, single scale", 0.95),
    Target("shape", "shape right, single scale", 0.85),
    Target("direction", "direction right, single scale", 0.85),
    Target("combined_accuracy_ratio", "accuracy of the combined schedule over that of 1x2", 0.97),
    Target("combined_flops_ratio", "FLOPs of the combined schedule over those of 1x2", 0.5, ceiling=True),
    Target("motion_spearman", "rank correlation of motion score and measured motion", 0.9),
)


def headline(tables: dict) -> dict[str, float | None]:
    """The figures of ``TARGETS``."""
    right = tables["table_2"]["following"]["all"]
    return {
        "colour": right["colour"],
        "shape": right["shape"],
        "direction": right["direction"],
        "combined_accuracy_ratio": tables["table_2"]["accuracy_ratio"],
        "combined_flops_ratio": tables["table_2"]["rows"][COMBINED]["flops"],
        "motion_spearman": tables["table_3"]["rank"]["spearman"],
    }
