"""The paper's tables in miniature: the arithmetic on known figures, and a whole quick run on random weights."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lumina_core.mini.captions import CHINESE, ENGLISH
from lumina_core.mini.draw import draw
from lumina_core.mini.judge import judge
from lumina_core.mini.world import combination, held_out
from lumina_core.sampling.presets import PRESETS
from lumina_core.shapes.latents import LATENT_CHANNELS
from lumina_core.vae.compact import CompactVAE, CompactVAEConfig

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    """The script as a module; what it needs on the path is there only while it loads."""
    path = list(sys.path)
    spec = importlib.util.spec_from_file_location("paper_tables", ROOT / "benchmarks" / "paper_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


@pytest.fixture(scope="module")
def tables(script):
    """Its package `tables`."""
    return sys.modules["tables"]


@pytest.fixture
def run(script, monkeypatch, capsys):
    """run(*arguments): the script's lines, as from a command line."""
    threads = torch.get_num_threads()

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["paper_tables.py", *map(str, arguments)])
        script.main()
        return capsys.readouterr().out.splitlines()

    yield call
    torch.set_num_threads(threads)


def test_prompts_are_of_held_out_combinations_and_distinct(tables):
    prompts = tables.mini.held_out_prompts(60)
    names = [combination(prompt.scene) for prompt in prompts]
    assert len(set(names)) == 60 and all(held_out(name) for name in names)
    assert [prompt.language for prompt in prompts].count(ENGLISH) == 30
    assert all(prompt.text.isascii() == (prompt.language != CHINESE) for prompt in prompts)
    assert tables.mini.held_out_prompts(60) == prompts


def test_quality_of_a_drawn_clip_is_perfect_and_of_another_is_not(tables):
    prompt, other = tables.mini.held_out_prompts(2)
    right = tables.quality.measure(draw(prompt.scene), prompt)
    assert right.accuracy == right.background == 1
    assert right.distance < 0.03
    colour = "red" if prompt.scene.colour != "red" else "blue"
    wrong = tables.quality.measure(draw(replace(prompt.scene, colour=colour)), prompt)
    assert (wrong.colour, wrong.shape, wrong.direction) == (0, 1, 1)
    assert wrong.accuracy == pytest.approx(2 / 3)
    assert wrong.distance > 2 * right.distance


def test_distance_of_an_empty_clip_is_that_of_its_background(tables):
    (prompt,) = tables.mini.held_out_prompts(1)
    clip = draw(replace(prompt.scene, speed=0.0, along=50.0))
    assert tables.quality.distance_to_truth(clip, judge(clip), prompt.scene) == pytest.approx(0, abs=1e-6)


def test_following_counts_languages_apart(tables):
    prompts = tables.mini.held_out_prompts(4)
    wrong = tables.quality.ClipQuality(0, 1, 1, 1, 0.5, 0.1)
    qualities = [replace(wrong, colour=float(prompt.language == ENGLISH)) for prompt in prompts]
    found = tables.patches.following(qualities, prompts)
    assert [found[group]["colour"] for group in ("all", "en", "zh")] == [0.5, 1, 0]
    assert [found[group]["prompts"] for group in ("all", "en", "zh")] == [4, 2, 2]


def test_rows_of_table_3_become_schedules(tables):
    plan, unit = PRESETS["mini"], 0.5
    rows = {name: tables.motions._plan(plan, row, unit) for name, row in tables.paper.TABLE_3.items()}
    assert {name: (str(row.motion), str(row.negative_motion)) for name, row in rows.items()} == {
        "4 / 4": ("2", "2"),
        "8 / 8": ("4", "4"),
        "4 / 2": ("2", "1"),
        "8 / 2": ("4", "1"),
        "4 / 2-[0.05-4]": ("2", "1 | 0.05: 2"),
        "8 / 2-[0.05-8]": ("4", "1 | 0.05: 4"),
    }


def test_a_difference_is_one_beyond_two_standard_errors(tables):
    paired = tables.statistics.paired
    assert paired([0, 0, 0, 0], [1, 1.1, 0.9, 1]).sign == 1
    assert paired([1, 1.1, 0.9, 1], [0, 0, 0, 0]).sign == -1
    assert paired([0, 0, 0, 0], [1, -1, 1, -0.9]).sign == 0
    assert paired([1, 2], [1, 2]).sign == 0
    assert paired([0], [5]).sign == 0
    difference = paired([0, 0, 0], [1, 2, 3])
    assert (difference.mean, difference.error) == pytest.approx((2, (1 / 3) ** 0.5))


def test_quantiles(tables):
    values = [4.0, 1.0, 3.0, 2.0, 5.0]
    assert [tables.statistics.quantile(values, share) for share in (0, 0.5, 0.875, 1)] == [1, 3, 4.5, 5]


def test_curves_part_where_the_gap_stays(tables):
    edges = [0, 0.25, 0.5, 0.75, 1]
    losses = {"1x2": [1.0, 1.0, 1.0, 1.0], "2x2": [1.2, 1.0, 1.2, 1.2], "2x4": [1.1] * 4, "same": [1.04] * 4}
    assert tables.windows.parting(losses, edges) == {"2x2": 0.5, "2x4": 0, "same": None}


@pytest.mark.parametrize(("combined", "flops", "met"), [(0.98, 0.5, True), (0.96, 0.5, False), (0.98, 0.51, False)])
def test_targets_are_said_to_be_met_only_if_they_are(tables, combined, flops, met):
    found = {"combined_accuracy_ratio": combined, "combined_flops_ratio": flops}
    assert all(t.met(found[t.name]) for t in tables.targets.TARGETS if t.name in found) == met
    assert not any(target.met(None) for target in tables.targets.TARGETS)


def test_sentences_follow_the_figures(tables):
    def change(**signs):
        return {name: {"mean": float(signs.get(name, 0)), "error": 0.1, "sign": signs.get(name, 0)}
                for name in tables.motions.COMPARED}  # fmt: skip

    said = tables.sections._said_of_motion(
        {
            "score, equal": change(),
            "gap at 4": change(flow=1),
            "gap at 8": change(flow=-1),
            "score, against 2": change(flow=1),
            "schedule at 4": change(flow=-1, distance=-1),
            "schedule at 8": change(accuracy=-1, sharpness=1),
        }
    )
    assert "does not change the measured motion beyond chance" in said[0]
    assert "raises" in said[1] and "lowers" in said[2] and "raises" in said[3]
    assert "lowers" in said[4] and "quality gains (distance" in said[4]
    assert "gains (sharpness" in said[5] and "but also loses (accuracy" in said[5]


@pytest.fixture
def bundle(tmp_path, tiny_set):
    """A bundle of the tiny set and a small autoencoder: random weights, the released layout."""
    folder = tmp_path / "bundle"
    (folder / "vae").mkdir(parents=True)
    for name, path in (("video", tiny_set.model), ("text", tiny_set.text)):
        (folder / name).symlink_to(path, target_is_directory=True)
    config = CompactVAEConfig(latent_channels=LATENT_CHANNELS, wide=16, narrow=8, depth=1)
    save_file(CompactVAE(config).state_dict(), folder / "vae" / "diffusion_pytorch_model.safetensors")
    (folder / "vae" / "config.json").write_text(json.dumps({"_class_name": "CompactVAE", **config.as_dict()}))
    description = {
        "name": "tiny", "about": "random weights", "checkpoint": "video", "text_encoder": "text", "vae": "vae",
        "preset": "mini-MultiScale", "size": {"width": 64, "height": 64, "frames": 32}, "fps": 8,
        "motion_range": [0, 20], "prompt": "a red circle",
    }  # fmt: skip
    (folder / "bundle.json").write_text(json.dumps(description))
    return folder


def test_a_quick_run_prints_json_and_writes_the_document(tables, run, bundle, tmp_path):
    target = tmp_path / "docs" / "results.md"
    found = json.loads(run("--bundle", bundle, "--quick", "--write", target)[-1])
    assert {figure.name for figure in tables.targets.TARGETS} <= found.keys()
    assert 0 < found["combined_flops_ratio"] < 1 == found["table_2"]["rows"]["1x2"]["flops"]
    assert list(found["table_2"]["rows"]) == ["1x2", "2x2", "2x4", "combined"]
    assert list(found["table_3"]["rows"]) == list(tables.paper.TABLE_3)
    assert {len(curve) for curve in found["figure_3"]["loss"].values()} == {20}
    text = target.read_text(encoding="utf-8")
    for heading in ("Prompt following", "Table 2", "Table 3", "Figure 3"):
        assert f"\n## {heading}" in text
    assert not list(target.parent.rglob("*.part"))
    assert (target.parent / "figures" / "loss_windows.png").exists() == ("figures/loss_windows.png" in text)


def test_a_missing_bundle_is_one_sentence(run):
    with pytest.raises(SystemExit, match=r"^There is no bundle 'nowhere'; give .*\.$"):
        run("--bundle", "nowhere", "--quick")


def test_counts_below_one_are_refused(run, capsys):
    with pytest.raises(SystemExit):
        run("--prompts", 0)
    assert "--prompts is 0; write a number of at least 1." in capsys.readouterr().err
