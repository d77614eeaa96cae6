"""Values that the nodes add to the host's CONDITIONING."""

from __future__ import annotations

from typing import Any

import node_helpers

from ...lumina_core.sampling.plan import number_schedule
from ..names import MOTION_KEY


def set_values(conditioning: list, values: dict[str, Any]) -> list:
    """A copy of the conditioning with these values set in every entry."""
    return node_helpers.conditioning_set_values(conditioning, values)


def set_motion(conditioning: list, schedule: str, field: str = "motion") -> list:
    """Conditioning with a motion schedule, in place of any earlier one. Raises ScheduleError that names ``field``."""
    return set_values(conditioning, {MOTION_KEY: number_schedule(field, schedule)})
