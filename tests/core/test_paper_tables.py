"""The paper's tables in miniature: prompts, quality, rows as schedules, and a whole quick run on random weights."""

import argparse
import json
from dataclasses import replace

import pytest
from refusals import refused
from safetensors.torch import save_file

from benchmarks import paper_tables
from benchmarks.common.motion_scores import plan_of
from benchmarks.common.paper import TABLE_3
from benchmarks.common.patch_sizes import following
from lumina_core.mini.captions import CHINESE, ENGLISH
from lumina_core.mini.draw import draw
from lumina_core.mini.judge import judge
from lumina_core.mini.prompts import held_out_prompts
from lumina_core.mini.quality import ClipQuality, distance_to_truth, measure
from lumina_core.mini.world import combination, is_held_out
from lumina_core.sampling.presets import PRESETS
from lumina_core.shapes.latents import LATENT_CHANNELS
from lumina_core.vae.compact import CompactVAE, CompactVAEConfig


def test_prompts_are_of_held_out_combinations_and_distinct():
    prompts = held_out_prompts(60)
    names = [combination(prompt.scene) for prompt in prompts]
    assert len(set(names)) == 60 and all(is_held_out(name) for name in names)
    assert [prompt.language for prompt in prompts].count(ENGLISH) == 30
    assert all(prompt.text.isascii() == (prompt.language != CHINESE) for prompt in prompts)
    assert held_out_prompts(60) == prompts


def test_quality_of_a_drawn_clip_is_perfect_and_of_another_is_not():
    prompt, _ = held_out_prompts(2)
    right = measure(draw(prompt.scene), prompt)
    assert right.accuracy == right.background == 1
    assert right.distance < 0.03
    color = "red" if prompt.scene.color != "red" else "blue"
    wrong = measure(draw(replace(prompt.scene, color=color)), prompt)
    assert (wrong.color, wrong.shape, wrong.direction) == (0, 1, 1)
    assert wrong.accuracy == pytest.approx(2 / 3)
    assert wrong.distance > 2 * right.distance


def test_distance_of_an_empty_clip_is_that_of_its_background():
    (prompt,) = held_out_prompts(1)
    clip = draw(replace(prompt.scene, speed=0.0, along=50.0))
    assert distance_to_truth(clip, judge(clip), prompt.scene) == pytest.approx(0, abs=1e-6)


def test_following_counts_languages_separately():
    prompts = held_out_prompts(4)
    wrong = ClipQuality(0, 1, 1, 1, 0.5, 0.1)
    found = following([replace(wrong, color=float(prompt.language == ENGLISH)) for prompt in prompts], prompts)
    assert [(row["language"], row["prompts"], row["color"]) for row in found] == [
        ("all", 4, 0.5), ("English", 2, 1), ("Chinese", 2, 0),
    ]  # fmt: skip


def test_rows_of_table_3_become_schedules():
    rows = {name: plan_of(PRESETS["mini"], row, 0.5) for name, row in TABLE_3.items()}
    assert {name: (str(row.motion), str(row.negative_motion)) for name, row in rows.items()} == {
        "4 / 4": ("2", "2"),
        "8 / 8": ("4", "4"),
        "4 / 2": ("2", "1"),
        "8 / 2": ("4", "1"),
        "4 / 2-[0.05-4]": ("2", "1 | 0.05: 2"),
        "8 / 2-[0.05-8]": ("4", "1 | 0.05: 4"),
    }


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


def given(bundle, **changes) -> argparse.Namespace:
    counts = dict.fromkeys(("prompts", "motion_prompts", "rank_prompts", "loss_clips", "rounds", "training_clips"), 2)
    return argparse.Namespace(**{"bundle": str(bundle), "quick": True, **counts, **changes})


@pytest.mark.slow
def test_a_quick_run_fills_every_table(bundle):
    found = paper_tables.measure(given(bundle))
    assert [row["target"] for row in found["targets"]][-2:] == ["at most 0.5", "at least 0.9"]
    assert [row["patch"] for row in found["table_2"]] == ["1x2", "2x2", "2x4", "combined", "drawn, through the VAE"]
    assert 0 < found["table_2"][3]["flops"] < 1 == found["table_2"][0]["flops"]
    assert [row["scores"] for row in found["table_3"]] == list(TABLE_3)
    assert len(found["differences"]) == 6 and len(found["ranked"]) == 5
    assert len(found["loss"]) == 20 and all({"1x2", "2x2", "2x4"} <= set(row) for row in found["loss"])


def test_a_missing_bundle_is_refused():
    with refused("bundle", "missing", "nowhere"):
        paper_tables.measure(given("nowhere"))
