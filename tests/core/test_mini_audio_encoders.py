"""The mini encoders of sound: what their training asks is true, and what is written loads as the real ones do."""

import json
import math
import random

import pytest
import torch

from lumina_core.audio.features import load_feature_encoder
from lumina_core.audio.synchformer import SyncConfig
from lumina_core.mini import audio_sync_encoder as audio_sync
from lumina_core.mini import audio_text_encoder as audio_clip
from lumina_core.mini.audio_captions import audio_caption
from lumina_core.mini.audio_encoders import FIGURES, AudioEncodersRecipe, train_audio_encoders
from lumina_core.mini.audio_sync_encoder import AudioSyncRecipe, train_audio_sync
from lumina_core.mini.audio_text_encoder import AudioClipRecipe, train_audio_clip
from lumina_core.mini.audio_tokenizer import BOS, EOS, PAD, UNKNOWN, write_audio_tokenizer
from lumina_core.mini.audio_world import FLASH, MATERIALS, draw_audio_scene, events, random_audio_scene
from lumina_core.mini.captions import LANGUAGES
from lumina_core.mini.world import COLORS, SHAPES


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    size = write_audio_tokenizer(folder)
    found = AutoTokenizer.from_pretrained(folder)
    assert len(found) == size
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_captions_with_sound_are_whole_words(tokenizer, language):
    rng = random.Random(4)
    for _ in range(150):
        text = audio_caption(random_audio_scene(rng), rng, language)
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == BOS and ids[-1] == EOS and UNKNOWN not in ids and PAD not in ids
        words = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text.lower())
        pieces = sum(len(word) if language == "zh" else 1 for word, _ in words)
        assert len(ids) == 2 + pieces < 77
        back = tokenizer.decode(ids, skip_special_tokens=True)
        assert "".join(back.split()) == "".join(text.lower().split())


def test_other_words_are_spelled_and_nothing_is_two_tokens(tokenizer):
    assert tokenizer("")["input_ids"] == [BOS, EOS]
    ids = tokenizer("zeppelin")["input_ids"]
    assert UNKNOWN not in ids and len(ids) == 2 + len("zeppelin")


def test_what_a_caption_tells_is_in_it():
    rng = random.Random(1)
    seen = set()
    for _ in range(300):
        example = audio_clip._example(rng, held_out=False)
        color, shape, material = example.text_labels
        words = example.text.lower()
        assert (shape == len(SHAPES)) == (color == len(COLORS))
        if shape < len(SHAPES):
            # The image shows what the text names.
            assert example.image_labels[:2] == [color, shape] and words
        heard = {"bell": ("bell", "钟", "铃"), "wood": ("wood", "木"), "drum": ("drum", "鼓")}
        named = [name for name, texts in heard.items() if any(text in words for text in texts)]
        assert named == ([MATERIALS[material]] if material < len(MATERIALS) else [])
        seen.add((shape < len(SHAPES), material < len(MATERIALS)))
    assert len(seen) == 4


def test_the_contrast_is_least_for_matching_pairs():
    seen = torch.tensor([[0, 0, 0], [1, 0, 3], [0, 0, 2], [2, 1, 0]])
    told = torch.tensor([[0, 0, 1], [1, 0, 1], [0, 0, 3], [len(COLORS), len(SHAPES), 2]])
    right = 10 * (seen[:, None, :2] == told[None, :, :2]).all(dim=2).float()
    good, bad = audio_clip._contrast(right, seen, told), audio_clip._contrast(-right, seen, told)
    # Equal captions share: two of three are right for the first one.
    assert 0 <= float(good) < 0.01 and float(bad) > 5
    moved = right.clone()
    moved[3] += 100  # an image whose caption names nothing
    assert audio_clip._contrast(moved, seen, told) == good
    assert audio_clip._contrast(right[3:, 3:], seen[3:], told[3:]) == 0


def test_slots_know_their_events():
    rng = random.Random(0)
    for _ in range(40):
        scene = random_audio_scene(rng)
        start = rng.uniform(0, 2)
        is_event, distance, speed = audio_sync._truth(scene, start, 20)
        assert is_event.shape == (20, 2) and speed == pytest.approx(scene.visual.speed / 5)
        for slot in range(20):
            center = start + 0.08 * (slot + 0.5)
            gaps = [[], []]
            for event in events(scene):
                gaps[event.kind == FLASH].append(event.time - center)
            for kind in (0, 1):
                nearest = min((abs(gap) for gap in gaps[kind]), default=math.inf)
                assert float(is_event[slot, kind]) == pytest.approx(math.exp(-0.5 * (nearest / 0.05) ** 2), abs=1e-4)
            nearest = min(gaps[0] + gaps[1], key=abs, default=None)
            if nearest is not None:
                assert abs(float(distance[slot])) == pytest.approx(abs(nearest) / 0.08, abs=1e-3)


@pytest.mark.parametrize("rate", audio_sync.SOURCE_RATES)
def test_clips_show_the_frame_of_the_time(rate):
    scene = random_audio_scene(random.Random(2))
    clip, drawn = audio_sync._clip(scene, rate), draw_audio_scene(scene, rate)
    assert clip.shape == (104, 3, 64, 64)
    for frame in (0, 1, 13, 50, 99):
        expected = drawn[math.floor(frame / 25 * rate + 1e-6)].permute(2, 0, 1) * 2 - 1
        assert torch.equal(clip[frame], expected)
    assert torch.equal(clip[100:], clip[99:100].expand(4, -1, -1, -1))


def test_peaks_are_found_and_matched_once():
    chance = torch.zeros(20)
    chance[[3, 4, 9, 15]] = torch.tensor([0.5, 0.8, 0.3, 0.6])
    offsets = torch.zeros(20)
    offsets[4], offsets[15] = 0.25, -9.0
    found = audio_sync._peaks(chance, offsets)
    assert found == pytest.approx([0.08 * 4.75, 0.08 * 14.0])
    assert audio_sync._matched(found, [0.40, 0.41, 1.3]) == pytest.approx([0.02])
    assert audio_sync._matched([], [1.0]) == []
    # A peak at either end counts, and a flat top counts once.
    assert len(audio_sync._peaks(torch.tensor([0.9, 0.1, 0.7, 0.7, 0.1, 0.9]), torch.zeros(6))) == 3


@pytest.fixture(scope="module")
def small():
    """Sizes and steps for a test; `trained` puts them in place of the recipes' defaults."""
    clip = {"width": 32, "layers": 1, "patch": 16, "batch": 12, "texts": 6, "learning_rate": 5e-3}
    return clip, {"width": 32, "layers": 1, "heads": 2, "batch": 2, "segments": 2, "learning_rate": 5e-3}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, small):
    """Folder, figures of each encoder, and losses of two short trainings."""
    patch = pytest.MonkeyPatch()
    for module in (audio_clip, audio_sync):
        patch.setattr(module, "_MEASURED", 5)
    folder, losses = tmp_path_factory.mktemp("sound"), {"clip": [], "sync": []}
    clip, sync = small
    figures = {
        "clip": train_audio_clip(
            AudioClipRecipe(out=folder / "clip", steps=15, **clip), lambda *told: losses["clip"].append(told)
        ),
        "sync": train_audio_sync(
            AudioSyncRecipe(out=folder / "sync", steps=15, **sync), lambda *told: losses["sync"].append(told)
        ),
    }
    patch.undo()
    return folder, figures, losses


@pytest.mark.parametrize("name", ["clip", "sync"])
def test_training_lowers_the_loss_and_reports_every_step(trained, name):
    steps, losses = zip(*trained[2][name], strict=True)
    assert list(steps) == list(range(15))
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


def test_figures_are_shares(trained):
    _, figures, _ = trained
    names = {"color seen", "shape seen", "background seen", "color told", "shape told", "material told"}
    assert set(figures["clip"]) == names and all(0 <= share <= 1 for share in figures["clip"].values())
    assert set(figures["sync"]) == {"hit f1", "flash f1", "time error (s)", "speed error"}
    assert all(0 <= share <= 1 for share in figures["sync"].values())


def test_what_is_written_loads_as_encoders_of_features(trained):
    encoder = load_feature_encoder(trained[0])
    assert encoder.widths == (32, 32, 32) and encoder.clip.side == 64
    assert encoder.sync.config == SyncConfig(width=32, layers=1, heads=2, mlp=128, side=64, patch=16)
    scene = random_audio_scene(random.Random(5))
    found = encoder.frames(draw_audio_scene(scene, 12), 12)
    assert found.visual.shape == (1, 32, 32) and found.sync.shape == (1, 12, 8, 32)
    assert encoder.text(["a bell"])[1].sum() == 4
    assert not list(trained[0].rglob("*.part"))


def test_transformers_loads_the_mini_clip_by_itself(trained):
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(trained[0] / "clip")
    assert model.config.vision_config.image_size == 64 and model.config.text_config.eos_token_id == EOS


def test_both_are_trained_and_the_figures_written_last(tmp_path, monkeypatch):
    order = []

    def stand_in(name):
        def train(recipe, report):
            assert not (tmp_path / FIGURES).exists()
            order.append((name, recipe.out, recipe.steps, recipe.seed))
            report(0, 1.5)
            return {"share": 0.5}

        return train

    monkeypatch.setattr("lumina_core.mini.audio_encoders.train_audio_clip", stand_in("clip"))
    monkeypatch.setattr("lumina_core.mini.audio_encoders.train_audio_sync", stand_in("sync"))
    told = []
    figures = train_audio_encoders(
        AudioEncodersRecipe(out=tmp_path, clip_steps=3, sync_steps=4, seed=7), lambda *step: told.append(step)
    )
    assert order == [("clip", tmp_path / "clip", 3, 7), ("sync", tmp_path / "sync", 4, 7)]
    assert told == [("clip", 0, 1.5), ("sync", 0, 1.5)]
    assert json.loads((tmp_path / FIGURES).read_text(encoding="utf-8")) == figures


def test_training_repeats_by_its_seed(tmp_path, monkeypatch, small):
    monkeypatch.setattr(audio_sync, "_MEASURED", 1)

    def weights(seed: int) -> torch.Tensor:
        folder = tmp_path / f"{seed}-{len(list(tmp_path.iterdir()))}"
        train_audio_sync(AudioSyncRecipe(out=folder, steps=2, seed=seed, **small[1]))
        return audio_sync.load_sync_encoder(folder).norm.weight

    first = weights(0)
    assert torch.equal(weights(0), first) and not torch.equal(weights(1), first)
