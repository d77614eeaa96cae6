"""The examples in docstrings, which the API pages show, give what they print."""

import doctest
import importlib
import pkgutil
import shutil
from pathlib import Path

import pytest

import lumina_core

ROOT = Path(__file__).parents[2]
# Every main class, and the functions that make one, shows how it is used.
SHOWN = {
    "lumina_core.checkpoints.video.load_video_model",
    "lumina_core.cost.budget.propose",
    "lumina_core.cost.flops.plan_cost",
    "lumina_core.pipelines.audio.LuminaAudioPipeline",
    "lumina_core.pipelines.bundle.Bundle",
    "lumina_core.pipelines.video.LuminaVideoPipeline",
    "lumina_core.sampling.audio.AudioPlan",
    "lumina_core.sampling.plan.SamplingPlan",
    "lumina_core.sampling.timesteps.time_grid",
    "lumina_core.shapes.latents.LatentSize",
    "lumina_core.shapes.latents.VideoSize",
    "lumina_core.shapes.resolutions.pick_size",
    "lumina_core.shapes.schedules.PatchSize",
    "lumina_core.shapes.schedules.Piecewise",
}


def examples() -> list[doctest.DocTest]:
    """Every docstring of the core with at least one example."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = []
    for module in pkgutil.walk_packages(lumina_core.__path__, "lumina_core."):
        if not module.name.endswith("__main__"):
            found += [test for test in finder.find(importlib.import_module(module.name)) if test.examples]
    return found


EXAMPLES = {example.name: example for example in examples()}


def test_main_classes_have_an_example():
    assert SHOWN - EXAMPLES.keys() == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_example_gives_what_it_prints(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # The clip that examples read; one that writes it first replaces it.
    shutil.copy(ROOT / "docs" / "figures" / "demo_with_audio.mp4", tmp_path / "clip.mp4")
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report = []
    assert runner.run(EXAMPLES[name], out=report.append).failed == 0, "".join(report)
