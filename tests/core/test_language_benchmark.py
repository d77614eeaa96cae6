"""The language benchmark: every scene can be said in every language, and its sentences follow the figures."""

import importlib.util
import random
import sys
from pathlib import Path

import pytest

from lumina_core.mini.world import BACKGROUNDS, COLOURS, DIRECTIONS, SHAPES, random_scene

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    """The script as a module; what it needs on the path is there only while it loads."""
    path = list(sys.path)
    spec = importlib.util.spec_from_file_location("languages", ROOT / "benchmarks" / "languages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


def figures(accuracy: float, difference: float = 0.0, error: float = 0.02) -> dict:
    asked = dict.fromkeys(("colour", "shape", "direction", "background"), accuracy)
    told = {"accuracy": accuracy, "error": error, "difference": difference, "difference_error": error}
    return {**asked, **told, "unknown_tokens": 0.5, "example": "a red star"}


def test_a_scene_can_be_said_in_every_language(script):
    rng = random.Random(0)
    assert script.KOREAN_WORDS.keys() == {*COLOURS, *SHAPES, *BACKGROUNDS, *DIRECTIONS}
    for _ in range(50):
        scene = random_scene(rng)
        texts = {name: script.said(scene, name, random.Random(1)) for name in script.NAMES}
        assert texts[script.NONE] == "" and len(set(texts.values())) == len(script.NAMES)
        assert script.KOREAN_WORDS[scene.colour] in texts[script.KOREAN]


@pytest.mark.parametrize("difference, said", [(0.0, "as well as"), (-0.1, "worse than"), (0.1, "better than")])
def test_what_is_said_of_chinese(script, difference, said):
    rows = {"en": figures(0.9), "zh": figures(0.9 + difference, difference), "ko": figures(0.2), "none": figures(0.2)}
    assert said in script.verdict(rows)[0]


def test_what_is_said_of_korean(script):
    rows = {name: figures(0.9) for name in script.NAMES}
    assert "no better than no prompt" in script.verdict({**rows, "ko": figures(0.92)})[1]
    assert "differently from no prompt" in script.verdict({**rows, "none": figures(0.2)})[1]


def test_the_section_has_a_row_for_each(script):
    rows = {name: figures(0.9, 0.01) for name in script.NAMES}
    result = {"rows": rows, "prompts": 24, "preset": "mini", "points": 31, "nfe": 30, "command": "python x"}
    lines = script.document(result).splitlines()
    found = [line.split("|")[1].strip() for line in lines if line.startswith("|")][2:]
    assert found == list(script.NAMES.values())
    assert sum("+1.0 ± 2.0 points" in line for line in lines) == len(script.NAMES) - 1, "English has none to itself"
