"""Every link, name and size of a model file comes from one table, which README, workflows and help pages agree with."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
import torch

from lumina_core.checkpoints.released import (
    CHECKPOINT,
    CONVERTED_SIZE,
    DOWNLOADS,
    IMAGE_CHECKPOINT,
    IMAGE_FILES,
    VIDEO_FILES,
)
from lumina_core.checkpoints.video import RELEASED_NAMES
from lumina_core.network.config import VideoConfig
from lumina_core.network.video import MultiScaleNextDiT

ROOT = Path(__file__).parents[2]
FILES = (*VIDEO_FILES, *IMAGE_FILES)
WEIGHTS = re.compile(r"[\w.-]+\.(?:safetensors|pth)\b")
LINK = re.compile(r"https://huggingface\.co/[\w./-]+\w")
spec = importlib.util.spec_from_file_location("build_model_files", ROOT / "scripts" / "build_model_files.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


def test_readme_has_the_tables_that_the_script_makes():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert script.replaced(readme) == readme, "python scripts/build_model_files.py"
    assert all(f"`{file.name}`" in script.section() and file.page in script.section() for file in FILES)


def test_only_the_section_is_rewritten():
    old = f"# A\n\n{script.START}\nold\n{script.END}\n\n## B\n"
    assert script.replaced(old) == f"# A\n\n{script.section()}\n\n## B\n"
    with pytest.raises(SystemExit, match="README"):
        script.replaced("# A\n")


def test_the_released_checkpoint_is_the_pth_and_its_loaders_look_for_it():
    """The listing of the repository has this file and model_args.pth, and no .safetensors."""
    assert CHECKPOINT.link == "https://huggingface.co/Alpha-VLLM/Lumina-Video-f24R960/resolve/main/consolidated.00-of-01.pth"
    assert CHECKPOINT.name in RELEASED_NAMES


def test_sizes_follow_from_the_network():
    with torch.device("meta"):
        values = sum(value.numel() for value in MultiScaleNextDiT(VideoConfig()).state_dict().values())
    assert CHECKPOINT.size == f"{4 * values / 1e9:.2f} GB (fp32)"
    assert CONVERTED_SIZE == f"{2 * values / 1e9:.1f} GB (bf16)"


def test_no_two_downloads_have_one_name():
    assert len({file.name for file in DOWNLOADS}) == len(DOWNLOADS)
    assert IMAGE_CHECKPOINT.name != CHECKPOINT.name


@pytest.mark.parametrize("path", sorted(ROOT.glob("workflows/*.json")), ids=lambda path: path.stem)
def test_workflows_link_what_the_table_links(path):
    known = {file.name: {"name": file.name, "url": file.link, "directory": file.folder} for file in DOWNLOADS}
    text = path.read_text(encoding="utf-8")
    for node in json.loads(text)["nodes"]:
        for link in node["properties"].get("models", []):
            assert link == known[link["name"]]
    assert set(LINK.findall(text)) <= {file.link for file in DOWNLOADS}


@pytest.mark.parametrize("path", sorted(ROOT.glob("workflows/api/*.json")), ids=lambda path: path.stem)
def test_api_workflows_name_files_of_the_table(path):
    names = {file.name for file in DOWNLOADS}
    assert set(WEIGHTS.findall(path.read_text(encoding="utf-8"))) <= names


PAGES = [ROOT / "README.md", *sorted(ROOT.glob("web/docs/*/*.md")), *sorted(ROOT.glob("workflows/api/*.md"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_pages_link_only_repositories_of_the_table(path):
    pages = {file.page for file in FILES}
    assert {link for link in LINK.findall(path.read_text(encoding="utf-8")) if "/datasets/" not in link} <= pages


@pytest.mark.parametrize("language", ["en", "zh", "ko"])
def test_the_loader_s_help_names_the_released_file_and_the_converter(language):
    page = (ROOT / "web" / "docs" / "LuminaVideoModelLoader" / f"{language}.md").read_text(encoding="utf-8")
    assert CHECKPOINT.name in page and "lumina_core convert" in page
    assert CHECKPOINT.size.split(" (")[0] in page and CONVERTED_SIZE.split(" (")[0] in page
    assert RELEASED_NAMES[0] not in page, "this file was not released"
