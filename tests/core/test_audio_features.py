"""Features of clips in memory and in files: the right frames, whole coverage, and readable faults."""

import math

import pytest
import torch
from refusals import refused

from lumina_core.audio.features import (
    FeatureEncoder,
    load_feature_encoder,
    load_features,
    save_features,
    segments,
    square,
)
from lumina_core.audio.synchformer import SyncConfig, SyncEncoder
from lumina_core.audio.synchformer_loader import save_sync_encoder
from lumina_core.media.writer import write_video

SIDE = 8


class SeesTime(torch.nn.Module):
    """A stand-in for CLIP: a frame's vector is its mean brightness."""

    width, text_width = 1, 5

    def visual(self, frames):
        return frames.mean(dim=(1, 2, 3))[:, None]

    def text(self, texts):
        return torch.zeros(len(texts), 77, 5), torch.ones(len(texts), 77, dtype=torch.bool)


class SeesFrames(torch.nn.Module):
    """A stand-in for Synchformer: a feature is the mean brightness of its two frames."""

    def __init__(self):
        super().__init__()
        self.config = SyncConfig(width=1, layers=1, heads=1, mlp=1, side=SIDE, patch=SIDE)
        self.cls_token = torch.nn.Parameter(torch.zeros(1))

    def forward(self, pieces):
        return ((pieces + 1) / 2).mean(dim=(2, 4, 5)).unflatten(2, (8, 2)).mean(dim=3, keepdim=True)


@pytest.fixture
def watcher() -> FeatureEncoder:
    return FeatureEncoder(SeesTime(), SeesFrames())


def counting(count: int, height: int = 16, width: int = 16) -> torch.Tensor:
    """Frame k has the brightness k / 1000."""
    return (torch.arange(count) / 1000)[:, None, None, None].expand(count, height, width, 3).contiguous()


def shown(count: int, fps: float, rate: float, wanted: int) -> torch.Tensor:
    """Brightness of the frames on the screen at so many times."""
    return torch.tensor([min(math.floor(number / rate * fps + 1e-6), count - 1) / 1000 for number in range(wanted)])


@pytest.mark.parametrize("fps", [8, 12, 23.976, 25, 30, 120])
@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.5, 4.0])
def test_frames_are_picked_by_time_and_segments_cover_the_clip(watcher, fps, seconds):
    count = max(2, round(seconds * fps))
    found = watcher.frames(counting(count), fps, seconds)
    assert found.seconds == seconds and found.visual.shape == (1, round(8 * seconds), 1)
    torch.testing.assert_close(found.visual[0, :, 0], shown(count, fps, 8, round(8 * seconds)))
    wanted = round(25 * seconds)
    number = max(1, math.ceil((wanted - 16) / 8) + 1)
    assert found.sync.shape == (1, number, 8, 1)
    line = shown(count, fps, 25, wanted)
    line = torch.cat([line, line[-1:].expand(16)])
    expected = [[line[8 * i + 2 * k : 8 * i + 2 * k + 2].mean() for k in range(8)] for i in range(number)]
    torch.testing.assert_close(found.sync[0, :, :, 0], torch.tensor(expected))


def test_the_length_is_the_clips_own_unless_given(watcher):
    assert watcher.frames(counting(50), 25).seconds == 2.0
    assert watcher.frames(counting(50), 25, 1.0).visual.shape[1] == 8
    longer = watcher.frames(counting(50), 25, 4.0)
    assert longer.visual.shape[1] == 32
    torch.testing.assert_close(longer.visual[0, 16:], torch.full((16, 1), 0.049))


def test_eight_seconds_give_the_shapes_of_the_paper(watcher):
    found = watcher.frames(counting(200), 25)
    assert found.visual.shape[1] == 64 and found.sync.shape[1] == 24


def test_a_short_clip_is_held_on_its_last_frame(watcher):
    found = watcher.frames(counting(5), 25)
    assert found.sync.shape == (1, 1, 8, 1)
    torch.testing.assert_close(found.sync[0, 0, 2:, 0], torch.full((6,), 0.004))


@pytest.mark.parametrize("fps", [12, 25, 29.97, 60])
def test_a_file_gives_what_its_frames_give(watcher, tmp_path, fps):
    # Bright steps, so that neighbours are told apart after H.264.
    frames = (torch.arange(2 * round(fps)) % 7 / 8)[:, None, None, None].expand(-1, 16, 16, 3).contiguous()
    write_video(tmp_path / "a.mp4", [frames], fps)
    memory, file = watcher.frames(frames, fps), watcher.file(tmp_path / "a.mp4")
    assert file.seconds == pytest.approx(memory.seconds, abs=1e-3)
    torch.testing.assert_close(file.visual, memory.visual, rtol=0, atol=0.03)
    torch.testing.assert_close(file.sync, memory.sync, rtol=0, atol=0.03)


def test_a_part_of_a_file(watcher, tmp_path):
    frames = (torch.arange(75) % 7 / 8)[:, None, None, None].expand(-1, 16, 16, 3).contiguous()
    write_video(tmp_path / "a.mp4", [frames], 25)
    part = watcher.file(tmp_path / "a.mp4", start=1.0, seconds=1.5)
    expected = watcher.frames(frames[25:], 25, 1.5)
    assert part.seconds == 1.5
    torch.testing.assert_close(part.visual, expected.visual, rtol=0, atol=0.03)
    torch.testing.assert_close(part.sync, expected.sync, rtol=0, atol=0.03)
    rest = watcher.file(tmp_path / "a.mp4", start=2.0)
    assert rest.seconds == pytest.approx(1.0)
    longer = watcher.file(tmp_path / "a.mp4", start=2.0, seconds=2.0)
    torch.testing.assert_close(longer.visual[:, 8:], rest.visual[:, -1:].expand(-1, 8, -1))


def test_the_middle_square_at_the_shorter_side():
    wide = torch.zeros(1, 20, 40, 3)
    wide[:, :, 10:30] = 1
    found = square(wide, 10)
    assert found.shape == (1, 3, 10, 10)
    assert (found[..., 1:-1] > 0.99).all() and found.min() >= -1 and found.max() <= 1
    tall = square(wide.transpose(1, 2), 10)
    torch.testing.assert_close(tall, found.transpose(2, 3))


@pytest.mark.parametrize(("height", "width"), [(63, 97), (8, 8), (7, 5), (33, 330), (1, 1)])
def test_odd_sizes_come_out_square(watcher, height, width):
    assert square(torch.rand(2, height, width, 3), SIDE).shape == (2, 3, SIDE, SIDE)
    assert watcher.frames(torch.rand(4, height, width, 3), 8).sync.shape == (1, 1, 8, 1)


def test_a_square_of_the_right_size_is_kept():
    frames = torch.rand(3, SIDE, SIDE, 3)
    torch.testing.assert_close(square(frames, SIDE), frames.permute(0, 3, 1, 2) * 2 - 1)


def test_segments_are_sixteen_frames_every_eight():
    frames = torch.arange(34.0)[:, None, None, None].expand(-1, 3, 2, 2)
    found = segments(frames)
    assert found.shape == (1, 3, 3, 16, 2, 2)
    for number in range(3):
        assert found[0, number, 1, :, 0, 1].tolist() == list(range(8 * number, 8 * number + 16))


@pytest.mark.parametrize(
    ("frames", "fps", "seconds", "field", "fact"),
    [
        (counting(1), 25, None, "frames", "1 frame"),
        (counting(10), 0, None, "fps", "0"),
        (counting(2), 120, None, "seconds", "0.0166667"),
        (counting(10), 25, -1.0, "seconds", "-1 s"),
        (counting(10), 25, math.nan, "seconds", "nan"),
        (counting(10), 25, 1e6, "seconds", "1e+06"),
        (counting(10)[..., :2], 25, None, "frames", "(10, "),
        (counting(10, 4, 60), 25, None, "frames", "60x4"),
    ],
)
def test_clips_that_cannot_be_used_are_told(watcher, frames, fps, seconds, field, fact):
    with refused(field, "value", fact):
        watcher.frames(frames, fps, seconds)


def test_files_that_cannot_be_used_are_told(watcher, tmp_path):
    write_video(tmp_path / "one.mp4", counting(1), 25)
    with refused("video", "value", "1"):
        watcher.file(tmp_path / "one.mp4")
    write_video(tmp_path / "ok.mp4", counting(50), 25)
    for start in (2.5, -1.0, math.nan):
        with refused("start"):
            watcher.file(tmp_path / "ok.mp4", start=start)
    with refused("video", "missing"):
        watcher.file(tmp_path / "no.mp4")


def test_sync_features_that_are_not_finite_are_told(watcher):
    watcher.sync.forward = lambda pieces: torch.full((1, pieces.shape[1], 8, 1), math.nan)
    with refused("sync", "numerics"):
        watcher.frames(counting(10), 25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Real networks, tiny and random."""
    from transformers import CLIPConfig, CLIPModel

    from lumina_core.mini.audio_tokenizer import write_audio_tokenizer

    path = tmp_path_factory.mktemp("features")
    (path / "clip").mkdir()
    (path / "sync").mkdir()
    tower = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=tower | {"vocab_size": write_audio_tokenizer(path / "clip"), "eos_token_id": 3, "bos_token_id": 1},
        vision_config=tower | {"image_size": 8, "patch_size": 4},
        projection_dim=6,
    )
    CLIPModel(config).save_pretrained(path / "clip")
    sync = SyncEncoder(SyncConfig(width=4, layers=1, heads=2, mlp=8, side=SIDE, patch=4))
    save_sync_encoder(sync, path / "sync" / "model.safetensors")
    return path


def test_a_folder_of_encoders(folder, random):
    encoder = load_feature_encoder(folder)
    assert encoder.widths == (6, 4, 8)
    found = encoder.frames(random(30, 12, 20, 3).sigmoid(), 25)
    assert found.visual.shape == (1, 10, 6) and found.sync.shape == (1, 3, 8, 4)
    torch.testing.assert_close(found.visual.norm(dim=-1), torch.ones(1, 10))
    features, mask = encoder.text(["a bell"])
    assert features.shape == (1, 77, 8) and mask.sum() == 4
    assert not found.visual.requires_grad and not found.sync.requires_grad


def test_the_middle_of_a_clip_does_not_depend_on_the_pieces_it_is_read_in(folder, random, monkeypatch):
    encoder = load_feature_encoder(folder)
    frames = random(90, 12, 20, 3).sigmoid()
    before = encoder.frames(frames, 25)
    monkeypatch.setattr("lumina_core.audio.features._BATCH", 7)
    after = encoder.frames(frames, 25)
    torch.testing.assert_close(after.sync, before.sync)
    torch.testing.assert_close(after.visual, before.visual)
    monkeypatch.undo()
    pixels = square(torch.cat([frames, frames[-1:].expand(6, -1, -1, -1)]), SIDE)
    torch.testing.assert_close(encoder.sync(segments(pixels)), before.sync)


def test_folders_without_the_encoders_are_told(folder, tmp_path):
    with refused("features", "missing"):
        load_feature_encoder(tmp_path / "no")
    with refused("features", "missing"):
        load_feature_encoder(tmp_path)
    (tmp_path / "clip").mkdir()
    with refused("features", "missing"):
        load_feature_encoder(tmp_path)


def test_saved_features_come_back(folder, random, tmp_path):
    encoder = load_feature_encoder(folder)
    made = encoder.frames(random(30, 12, 20, 3).sigmoid(), 25)
    save_features(tmp_path / "a.safetensors", made, "clip a")
    back = load_features(tmp_path / "a.safetensors", "clip a")
    assert torch.equal(back.visual, made.visual) and torch.equal(back.sync, made.sync) and back.seconds == made.seconds
    assert load_features(tmp_path / "a.safetensors").seconds == made.seconds
    with refused("features", "mismatch", "'clip a'", "'clip b'"):
        load_features(tmp_path / "a.safetensors", "clip b")


def test_files_that_hold_no_features_are_told(random, tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "a.safetensors"
    with refused("file", "file"):
        load_features(path)
    save_file({"visual": torch.zeros(1)}, path)
    with refused("features", "file"):
        load_features(path)
    good = {"visual": random(1, 8, 6), "sync": random(1, 2, 8, 4)}
    header = {"lumina_video_features": '{"of": "x", "seconds": 1.0}'}
    for broken, field, kind in (
        ({"visual": good["visual"]}, "features", "file"),
        (good | {"more": torch.zeros(1)}, "features", "file"),
        (good | {"sync": random(1, 2, 7, 4)}, "features", "file"),
        (good | {"visual": random(2, 8, 6)}, "features", "file"),
        (good | {"visual": torch.full((1, 8, 6), math.nan)}, "file", "numerics"),
    ):
        save_file(broken, path, metadata=header)
        with refused(field, kind, "a.safetensors"):
            load_features(path)
    save_file(good, path, metadata={"lumina_video_features": '{"of": "x"}'})
    with refused("features", "file"):
        load_features(path)
