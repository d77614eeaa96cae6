"""What stays the same over a run is computed once per run in the host, too: text layers and rotary tables."""

import pytest

from scripts.make_tiny_set import MODEL_FOLDER

TEXTS = 2
LAYERS = ("pooled", *(f"{index} {name}" for index in range(2) for name in ("norm", "keys", "values")))
GRIDS = [[2, 2, 2], [2, 4, 4], [4, 4, 4]]
"""Of 2x4, 2x2 and 1x2 over a latent of 4x8x8."""
RUNS = [
    f"texts of {lengths}{kind}" for lengths in ("one length", "two lengths") for kind in ("", ", again", ", KSampler")
]


@pytest.fixture(scope="session")
def report(worker, tiny_models) -> dict:
    return worker("constants.py", tiny_models / MODEL_FOLDER / "consolidated.00-of-01.safetensors")


@pytest.mark.parametrize("run", RUNS)
def test_text_goes_through_its_layers_once_per_run(report, run):
    assert report[run]["rows"] == dict.fromkeys(LAYERS, TEXTS)


@pytest.mark.parametrize("run", RUNS)
def test_a_rotary_table_is_made_once_per_segment(report, run):
    assert report[run]["grids"] == GRIDS
