"""README's table of what fits which card is what its script makes of the formula."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from lumina_core.cost.memory import RunSpec, memory_plan
from lumina_core.network.config import VideoConfig
from lumina_core.sampling.presets import PRESETS, preset_clip

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("build_memory_table", ROOT / "scripts" / "build_memory_table.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


def test_readme_has_the_table_that_the_script_makes() -> None:
    assert script.section() in (ROOT / "README.md").read_text(encoding="utf-8"), "python scripts/build_memory_table.py"


def test_every_cell_is_marked_as_computed_and_cheaper_presets_take_less_time() -> None:
    rows = script.rows()
    assert {cell[-1] for row in rows for cell in row[3:]} == {script.COMPUTED}
    times = [float(row[-1].split()[0]) for row in rows]
    assert times[0] == times[3] == 1 and times[:3] == sorted(times[:3], reverse=True)


def test_a_cell_says_what_the_host_has_to_do() -> None:
    run = RunSpec(VideoConfig(), preset_clip("f24F96R960").size.latent(), PRESETS["f24F96R960"])
    plan = memory_plan(run)
    assert script.verdict(run, plan.total) == "fits"
    assert script.verdict(run, plan.decoding - 1) == "fits, tiles"
    assert script.verdict(run, plan.sampling - 1) == "offload, tiles"
    assert script.verdict(run, memory_plan(replace(run, offload=True, split=True, tile=16)).total // 2) == "no"


def test_only_the_section_is_rewritten() -> None:
    readme = f"# A\n\ntext\n\n{script.HEADING}\n\nold\n\n## B\n\nmore\n"
    assert script.rewritten(readme) == f"# A\n\ntext\n\n{script.section()}\n## B\n\nmore\n"
    with pytest.raises(ValueError, match="no heading"):
        script.rewritten("# A\n")
