"""The released numbers, literally, and those of the mini bundle."""

from lumina_core import PRESETS, VideoSize
from lumina_core.sampling.presets import DEFAULT_PRESET, preset_clip

PLAIN = {
    "solver": "euler", "cache": 0.0, "times": "", "rope": "auto", "proportional": False, "context_drop": 0.0,
}  # fmt: skip
R960 = {
    "guidance": "20 | 0.2: 0", "motion": "6", "negative_motion": "2 | 0.05: 6", "renorm": 2.0, "time_shift": 24.0,
    "points": 70, **PLAIN,
}  # fmt: skip
MINI = {
    "guidance": "4 | 0.48: 0", "motion": "3", "negative_motion": "none", "renorm": -1.0, "time_shift": 4.0,
    "points": 31, **PLAIN,
}  # fmt: skip
R512 = {**R960, "guidance": "12 | 0.4: 0", "renorm": -1.0, "time_shift": 8.0}


def test_presets_hold_their_numbers():
    assert {name: plan.as_dict() for name, plan in PRESETS.items()} == {
        "f24F96R960-MultiScale": {"patch": "2x4 | 0.03: 2x2 | 0.125: 1x2", **R960},
        "f24F96R960": {"patch": "1x2", **R960},
        "f16F64R512-MultiScale": {"patch": "2x4 | 0.075: 2x2 | 0.3: 1x2", **R512},
        "f16F64R512": {"patch": "1x2", **R512},
        "mini-MultiScale": {"patch": "2x4 | 0.1: 2x2 | 0.35: 1x2", **MINI},
        "mini": {"patch": "1x2", **MINI},
    }
    assert DEFAULT_PRESET in PRESETS


def test_preset_clips():
    assert {name: (preset_clip(name).size, preset_clip(name).fps) for name in PRESETS} == {
        "f24F96R960-MultiScale": (VideoSize(1248, 704, 96), 24),
        "f24F96R960": (VideoSize(1248, 704, 96), 24),
        "f16F64R512-MultiScale": (VideoSize(672, 384, 64), 16),
        "f16F64R512": (VideoSize(672, 384, 64), 16),
        "mini-MultiScale": (VideoSize(64, 64, 32), 8),
        "mini": (VideoSize(64, 64, 32), 8),
    }
